"""Archives of images, as other tools write them, in memory."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping

from monocore_core.testing.images import BuiltImage, descriptor_json

#: Name in an archive to a file's content, or (a text) a symlink's target.
Contents = dict[str, bytes | str]


def tar_of(members: Mapping[str, bytes | str]) -> bytes:
    """A tar of files; a text is a symlink's target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def layout_members(image: BuiltImage, *annotations: Mapping[str, str]) -> Contents:
    """The files of an OCI layout that lists the image once for each of ``annotations``."""
    members: Contents = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    listed = [{**descriptor_json(image.descriptor), "annotations": each} for each in annotations or ({},)]
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    for each in image.walk():
        members[f"blobs/sha256/{each.digest.hex}"] = each.manifest
        for digest, blob in each.blobs.items():
            members[f"blobs/sha256/{digest.hex}"] = blob.read()
    return members


def saved_members(image: BuiltImage, *names: str) -> Contents:
    """The files of a docker-save archive, as docker before 25 and podman write it; layers as the image has them."""
    manifest = json.loads(image.manifest)
    config = manifest["config"]["digest"].partition(":")[2]
    layers = [f"{layer.digest.hex}/layer.tar" for layer in image.layers]
    members: Contents = {
        name: image.blob(layer.digest) for name, layer in zip(layers, image.layers, strict=True)
    }
    blob = next(blob for digest, blob in image.blobs.items() if digest.hex == config)
    members[f"{config}.json"] = blob.read()
    listed = [{"Config": f"{config}.json", "RepoTags": list(names) or None, "Layers": layers}]
    members["manifest.json"] = json.dumps(listed).encode()
    return members
