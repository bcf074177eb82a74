"""The labels by which a sandbox's record says which instance of which service it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from monocore_core.model.service import Project, Service

PROJECT, SERVICE, GROUP = "monocore.project", "monocore.service", "monocore.group"
INSTANCE, CONFIG_HASH, IMAGE = "monocore.instance", "monocore.config-hash", "monocore.image"
_OURS = "monocore."


@frozen
class Labels:
    """What a sandbox's labels say.

    Attributes:
        project: name.
        service: name.
        replica: number of the instance, from 1.
        group: name, or "".
        config_hash: of the configuration that it was made of.
        image: reference of its image, as configured.
    """

    project: str
    service: str
    replica: int
    group: str
    config_hash: str
    image: str


def labels_for(project: Project, service: Service, replica: int, config_hash: str) -> dict[str, str]:
    """The labels of one instance: the service's own, and ours over them."""
    own = {name: value for name, value in service.labels.items() if not name.startswith(_OURS)}
    return {
        **own,
        PROJECT: project.name,
        SERVICE: service.name,
        INSTANCE: str(replica),
        GROUP: service.group,
        CONFIG_HASH: config_hash,
        IMAGE: service.image,
    }


def labels_of(labels: Mapping[str, str]) -> Labels | None:
    """What a sandbox's labels say; None when it is no instance of a service."""
    project, service, number = (labels.get(name, "") for name in (PROJECT, SERVICE, INSTANCE))
    if not project or not service or not (number.isascii() and number.isdecimal() and len(number) <= 6):
        return None
    return Labels(
        project,
        service,
        int(number),
        labels.get(GROUP, ""),
        labels.get(CONFIG_HASH, ""),
        labels.get(IMAGE, ""),
    )
