"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.integration.jail.world import World, made


@pytest.fixture(scope="module")
def world() -> Generator[World]:
    """What there is to be found, and a program that tries."""
    with made() as found:
        yield found
