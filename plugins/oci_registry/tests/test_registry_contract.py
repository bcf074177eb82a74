"""oci_registry keeps what every image source promises, against a real registry."""

from __future__ import annotations

import pytest
from monocore_oci_registry import PROVIDER, RegistryOptions

from monocore_core.interfaces.provider import ImageSourceProvider
from monocore_core.testing.contracts.image_source import ImageSourceContract, Publish
from monocore_core.testing.images import BuiltImage
from monocore_core.testing.registry import LocalRegistry


class TestContract(ImageSourceContract):
    @pytest.fixture
    def provider(self) -> ImageSourceProvider[RegistryOptions]:
        return PROVIDER

    @pytest.fixture
    def publish(self, registry: LocalRegistry) -> Publish:
        def publish(image: BuiltImage, name: str) -> str:
            return registry.push(image, f"contract/{name}")

        return publish
