"""From one instance of a service to the order of its sandbox. Pure."""

from __future__ import annotations

from attrs import evolve, frozen

from monocore_core.model.record import HostLimits, SandboxOrder, SettingsSource
from monocore_core.model.sandbox import PullPolicy
from monocore_core.model.service import Project, Service, instance_name
from monocore_core.notation.signals import signal_number
from monocore_core.orchestrator.converge import Desired
from monocore_core.orchestrator.labels import labels_for
from monocore_core.plan.service import command_request, sandbox_request


@frozen
class Made:
    """What is known of a service once its image is in the store and its secrets were read.

    Attributes:
        config_hash: of its configuration, digests of its secrets included.
        image: digest of its image.
    """

    config_hash: str
    image: str


def desired(project: Project, service: Service, made: Made) -> tuple[Desired, ...]:
    """The instances of a service as they shall be."""
    return tuple(
        Desired(
            instance_name(project.name, service.name, replica),
            service.name,
            replica,
            made.config_hash,
            made.image,
        )
        for replica in range(1, service.replicas + 1)
    )


def order_of(
    project: Project, service: Service, replica: int, made: Made, settings: SettingsSource
) -> SandboxOrder:
    """The order of one instance. Its image is named by its digest, so that a restart is of the same one, whatever its tag says then.

    Raises:
        InvalidInput, Unsupported: the service cannot be run as configured.
    """
    request = sandbox_request(project, service, replica)
    return SandboxOrder(
        evolve(request, image=made.image, pull=PullPolicy.NEVER),
        command_request(service),
        labels=labels_for(project, service, replica, made.config_hash),
        timeout=service.timeout,
        idle_timeout=service.idle_timeout,
        stop_signal=signal_number(service.stop_signal),
        stop_grace=service.stop_grace,
        settings=settings,
        limits=HostLimits(cpu=service.cpu_fraction),
    )
