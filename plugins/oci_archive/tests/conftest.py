"""What the plugin's tests share: images, and sources with a cache of their own."""

from pathlib import Path

import pytest
from monocore_oci_archive import PROVIDER, ArchiveOptions

from monocore_core.testing.filespec import directory, file, whiteout
from monocore_core.testing.images import BuiltImage, build_image
from monocore_core.testing.sources import SourceOpener


@pytest.fixture
def plain() -> BuiltImage:
    """Two layers that are not compressed."""
    return build_image(
        [[directory("etc"), file("etc/motd", b"one\n")], [whiteout("etc/motd")]], compression="none"
    )


@pytest.fixture
def packed() -> BuiltImage:
    """Two layers of gzip."""
    return build_image([[directory("etc"), file("etc/motd", b"two\n")], [file("a", bytes(100_000))]])


@pytest.fixture
def opener(tmp_path: Path) -> SourceOpener[ArchiveOptions]:
    """Opens sources whose cache is a folder of this test."""
    cache = tmp_path / "cache"
    cache.mkdir()
    return SourceOpener(PROVIDER, cache, ArchiveOptions())
