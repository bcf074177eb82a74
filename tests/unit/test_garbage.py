"""The collector of cycles rests while trees are built, and goes on when the last one is."""

from __future__ import annotations

import gc
from contextlib import ExitStack

import pytest

from monocore_core.garbage import postponed


def test_overlapping_blocks_end_with_the_last() -> None:
    assert gc.isenabled()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(postponed())
        second.enter_context(postponed())
        assert not gc.isenabled()
        first.close()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_ends_a_block_as_well() -> None:
    with pytest.raises(KeyError), postponed():
        raise KeyError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with postponed():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
