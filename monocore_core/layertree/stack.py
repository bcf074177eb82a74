"""Reads the tars of a stack of layers into a tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from monocore_core.errors import Corrupt, LimitExceeded, Unsupported
from monocore_core.layertar import read_layer
from monocore_core.layertree.tree import Tree
from monocore_core.model.image import Layer


def _nothing(layer: Layer) -> None:
    del layer


def distinct(layers: Sequence[Layer]) -> list[Layer]:
    """The layers without repetitions: a file's ``source`` is an index of this list."""
    return list({layer.diff_id: layer for layer in layers}.values())


def merge(tree: Tree, layers: Sequence[Layer], applied: Callable[[Layer], None] = _nothing) -> None:
    """Apply ``layers``, lowest first; ``applied`` is called after each.

    Raises:
        Corrupt: a layer is malformed; the message names it. Likewise Unsupported and LimitExceeded.
        OSError: a layer cannot be read.
    """
    index = {layer.diff_id: number for number, layer in enumerate(distinct(layers))}
    for layer in layers:
        with named(layer), layer.path.open("rb") as tar:
            size = os.fstat(tar.fileno()).st_size
            if size != layer.size:
                raise Corrupt(f"the tar has {size} bytes instead of {layer.size}")
            tree.apply(index[layer.diff_id], size, read_layer(tar))
        applied(layer)


@contextmanager
def named(layer: Layer) -> Generator[None]:
    """Say in which layer something is wrong."""
    try:
        yield
    except (Corrupt, LimitExceeded, Unsupported) as error:
        raise type(error)(f"layer {layer.diff_id.short}: {error.brief}", hint=error.hint) from error
