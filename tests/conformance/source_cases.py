"""A test class for each broken source, of which only its own clause is run; see ``test_source_fakes.py``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from monocore_core.interfaces.provider import ImageSourceProvider, NoOptions
from monocore_core.testing.contracts.image_source import ImageSourceContract, Publish
from monocore_core.testing.images import BuiltImage
from tests.conformance.source_broken import BROKEN
from tests.conformance.source_fakes import Source, provider


class LayoutContract(ImageSourceContract):
    """Layouts in folders."""

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


def case(fake: type[Source]) -> type[LayoutContract]:
    class Case(LayoutContract):
        @pytest.fixture
        def provider(self) -> ImageSourceProvider[NoOptions]:
            return provider(fake)

    Case.__name__ = Case.__qualname__ = f"Test{fake.__name__}"
    return Case


for each in set(BROKEN.values()):
    globals()[f"Test{each.__name__}"] = case(each)
