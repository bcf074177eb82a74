"""Merged roots hold exactly what the model of layer application says."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monocore_layer_erofs import PROVIDER, ErofsOptions

from monocore_core.errors import Corrupt
from monocore_core.interfaces.provider import Host
from monocore_core.testing.erofs_reader import Image, join_vmdk
from monocore_core.testing.layer_model import Found, apply_layers
from monocore_core.testing.layers import Stack, layer_file, stacks, tar_of

PREFIXES = ("", "./", "/")


def merged(stack: Stack, prefix: str) -> dict[bytes, Found] | None:
    """The merged root read back, or None when it is refused as the model would."""

    async def merge(folder: Path) -> dict[bytes, Found]:
        layers = [layer_file(folder, tar_of(layer, prefix=prefix)) for layer in stack]
        host = Host(state=folder / "state", cache=folder / "cache")
        async with PROVIDER.create(host, ErofsOptions()) as merger:
            root = await merger.merge("key", layers)
        return Image(join_vmdk(root.path)).tree()

    with tempfile.TemporaryDirectory() as folder:
        try:
            return asyncio.run(merge(Path(folder)))
        except Corrupt:
            return None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(), st.sampled_from(PREFIXES))
def test_valid_stacks_merge_as_the_model_says(stack: Stack, prefix: str) -> None:
    assert merged(stack, prefix) == apply_layers(stack)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(valid=False, size=5))
def test_any_stack_merges_or_is_refused_as_the_model_says(stack: Stack) -> None:
    try:
        expected = apply_layers(stack)
    except Corrupt:
        expected = None
    assert merged(stack, "") == expected
