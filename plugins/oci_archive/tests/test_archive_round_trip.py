"""Out of the store and back through the plugin."""

import io
from pathlib import Path

from monocore_oci_archive import PROVIDER, ArchiveOptions

from monocore_core.interfaces.provider import Host
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference, parse_reference
from monocore_core.store import Store
from monocore_core.store.export import Chosen, export_images
from monocore_core.testing.memory import MemorySource, memory_image

AMD64 = Platform("linux", "amd64")
NAME = parse_reference("team/app:1")


async def test_what_comes_back_is_saved_as_it_came(tmp_path: Path) -> None:
    source = MemorySource()
    source.add(NAME, memory_image([b"x" * 5000, bytes(3 << 20)], label="l"))
    with Store.open(tmp_path / "home") as store:
        image = await store.pull(source, NAME, AMD64)
        path = tmp_path / "a.tar"
        with path.open("wb") as sink:
            export_images(store, [Chosen(image, (NAME,))], sink)
        place = Reference("", str(path), scheme="oci-archive")
        async with PROVIDER.create(Host(tmp_path, tmp_path), ArchiveOptions()) as archive:
            again = await store.pull(archive, place, AMD64, names=(NAME,))
        assert again.references == (str(NAME),)
        assert again.layers == image.layers
        assert store.image_documents(again)[1] == store.image_documents(image)[1]
        second = io.BytesIO()
        export_images(store, [Chosen(again, (NAME,))], second)
        assert second.getvalue() == path.read_bytes()
