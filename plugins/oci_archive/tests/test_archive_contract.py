"""oci_archive keeps what every image source promises, with layouts as folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from monocore_oci_archive import PROVIDER
from monocore_oci_archive.options import ArchiveOptions

from monocore_core.interfaces.provider import ImageSourceProvider
from monocore_core.testing.contracts.image_source import ImageSourceContract, Publish
from monocore_core.testing.images import BuiltImage


class TestContract(ImageSourceContract):
    @pytest.fixture
    def provider(self) -> ImageSourceProvider[ArchiveOptions]:
        return PROVIDER

    @pytest.fixture
    def publish(self, tmp_path: Path) -> Publish:
        def publish(image: BuiltImage, name: str) -> str:
            folder = tmp_path / "layouts" / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            image.write_layout(folder, "latest")
            return f"oci:{folder}:latest"

        return publish

    @pytest.fixture
    def absent(self) -> Callable[[str], str]:
        return lambda text: text.replace("/layouts/", "/elsewhere/")
