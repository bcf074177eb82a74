"""What there is, as plain data: images, volumes, networks, plugins. The command line prints it, the daemon answers with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from monocore_core.errors import MonocoreError
from monocore_core.model.image import Image
from monocore_core.model.network import NetworkStatus
from monocore_core.model.oci import ImageConfig
from monocore_core.notation.form import Json
from monocore_core.plan.fit import Offer
from monocore_core.plugins import Plugins
from monocore_core.serde import unstructure
from monocore_core.store import Volume


def image_summary(image: Image) -> dict[str, Json]:
    """One line of a list of images."""
    return {
        "references": list(image.references),
        "digest": str(image.digest),
        "platform": str(image.config.platform),
        "pulled": image.pulled,
        "size": image.size,
        "layers": len(image.layers),
    }


def image_details(image: Image) -> dict[str, Json]:
    """Everything known of an image."""
    return {
        **image_summary(image),
        "chain_id": str(image.chain_id),
        "layers": [
            {"diff_id": str(layer.diff_id), "size": layer.size, "path": str(layer.path)}
            for layer in image.layers
        ],
        "config": _config(image.config),
    }


def volume_details(volume: Volume) -> dict[str, Json]:
    """Everything known of a named volume."""
    return {
        "name": volume.name,
        "mountpoint": str(volume.path),
        "created": volume.created,
        "users": list(volume.users),
    }


def network_details(backend: str, status: NetworkStatus, name: str) -> dict[str, Json]:
    """Everything that a network knows of a sandbox.

    Args:
        backend: the network's name.
        status: what it knows.
        name: the sandbox's, for people.
    """
    told = cast("dict[str, Json]", unstructure(status))
    return {
        "key": status.key,
        "name": name,
        "network": backend,
        **{key: told[key] for key in told if key != "key"},
    }


def plugins_details(
    found: Plugins, offers: Sequence[Offer], trouble: MonocoreError | None = None
) -> dict[str, Json]:
    """Every installed backend with its probe's word, and what is set aside.

    Args:
        found: installed.
        offers: of those that could be asked.
        trouble: why none could.
    """
    probed = {(offer.interface, offer.name): offer for offer in offers}
    problems: list[Json] = [
        {"plugin": p.plugin, "distribution": p.distribution, "reason": p.reason, "hint": p.hint}
        for p in found.problems
    ]
    if trouble is not None:
        problems.append(
            {"plugin": "", "distribution": "", "reason": trouble.brief, "hint": trouble.hint or ""}
        )
    return {
        "backends": [
            {
                "interface": backend.interface.value,
                "name": backend.name,
                "rank": backend.provider.rank,
                "summary": backend.provider.summary,
                "distribution": backend.distribution,
                "version": backend.version,
                **_verdict(probed.get((backend.interface, backend.name))),
            }
            for backend in found.backends
        ],
        "problems": problems,
    }


def _verdict(offer: Offer | None) -> Mapping[str, Json]:
    if offer is None:
        return {"usable": None, "reason": "not probed", "hint": ""}
    if offer.problem is None:
        return {"usable": True, "reason": "", "hint": ""}
    return {"usable": False, "reason": offer.problem.reason, "hint": offer.problem.hint}


def _config(config: ImageConfig) -> dict[str, Json]:
    return {
        "entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "cmd": None if config.cmd is None else list(config.cmd),
        "env": list(config.env),
        "working_dir": config.working_dir,
        "user": config.user,
        "exposed_ports": list(config.exposed_ports),
        "volumes": list(config.volumes),
        "labels": dict(config.labels),
        "stop_signal": config.stop_signal,
        "created": config.created.isoformat() if config.created is not None else None,
    }
