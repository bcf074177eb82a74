"""How a backend offers itself: a :class:`Provider` returned by a hook.

A provider is cheap: importing the module that defines it opens no library, touches no device, and imports nothing heavy.
``probe`` says whether this host can use the backend; ``create`` opens it. Example::

    PROVIDER = LayerMergerProvider(
        name="layer_copy",
        api=1,
        summary="applies layers into a folder",
        rank=20,
        capabilities=MergerCapabilities(root=RootKind.DIRECTORY),
        options=CopyOptions,
        probe=probe,
        create=create,
    )


    @hookimpl
    def monocore_layer_mergers() -> list[LayerMergerProvider[CopyOptions]]:
        return [PROVIDER]
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from attrs import field, frozen

from monocore_core.interfaces.image_source import ImageSource
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.network import Network
from monocore_core.interfaces.vmm import Vmm
from monocore_core.model.events import Listener, ignore
from monocore_core.model.machine import Disk, MachineSpec
from monocore_core.model.network import Attachment, AttachmentKind, NetworkFeature, NetworkRequest, Tap
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_core.model.security import Security

#: Version of the contract in this package. A plugin writes the number it was made for as a literal.
API_VERSION = 1


class Interface(StrEnum):
    """The four interfaces, by the names under which ``[backends]`` chooses among their backends."""

    IMAGE_SOURCE = "image_source"
    LAYER_MERGER = "layer_merger"
    NETWORK = "network"
    VMM = "vmm"

    @property
    def label(self) -> str:
        """In a person's words."""
        return {"vmm": "VMM"}.get(self.value, self.value.replace("_", " "))


T = TypeVar("T")
OptionsT = TypeVar("OptionsT")


@frozen
class Host:
    """The places that the core gives to one backend.

    Attributes:
        state: persistent folder (0700) of this backend alone; survives restarts.
        cache: folder of this backend for what can be made again; may be emptied while nothing runs.
        emit: receives the backend's events.
        security: how processes that run guests are to be confined.
    """

    state: Path
    cache: Path
    emit: Listener = ignore
    security: Security = field(factory=Security)


@frozen
class Problem:
    """Why this host cannot use a backend.

    Attributes:
        reason: one sentence, naming what is missing.
        hint: what to install or change, or "".
    """

    reason: str
    hint: str = ""


@frozen
class NoOptions:
    """For a backend without options."""


@frozen
class SourceCapabilities:
    """What an image source can be asked.

    Attributes:
        schemes: prefixes that select the source in a reference (``oci-archive`` for ``oci-archive:file.tar``); a source
            with none takes plain references such as ``alpine:3.20``.
        local: what follows a scheme is a path of this host. It is made absolute before the source sees it, and since files
            change under their names, the source is asked each time: it answers quickly when nothing has changed.
    """

    schemes: tuple[str, ...] = ()
    local: bool = False


@frozen
class MergerCapabilities:
    """What a merger makes.

    Attributes:
        root: a folder or a disk.
        disk_format: of the disk, when it makes one.
        filesystem: on the disk.
        shared: whether one root may serve several sandboxes at once (it is immutable).
    """

    root: RootKind
    disk_format: DiskFormat | None = None
    filesystem: str = ""
    shared: bool = True


@frozen
class NetworkCapabilities:
    """What a network attaches, and what it can do beyond letting everything through.

    Attributes:
        attachment: kind of device.
        features: that it has; a request that needs another is refused before anything starts.
        descriptors: whether its taps can be had as open descriptors alone, because they are in a namespace of its own.
    """

    attachment: AttachmentKind
    features: frozenset[NetworkFeature] = frozenset()
    descriptors: bool = False

    def refuse(self, request: NetworkRequest) -> str | None:
        """Which part of a request is beyond these capabilities, or None. Pure; networks call it before they act."""
        for feature, what in request.needs().items():
            if feature not in self.features:
                return (
                    f"cannot enforce {what}" if feature is not NetworkFeature.PUBLISH else f"cannot do {what}"
                )
        return None


@frozen
class VmmCapabilities:
    """What a VMM can run.

    Attributes:
        architectures: of guests, in Go's words.
        roots: kinds of root it can attach.
        disk_formats: that it reads.
        filesystems: that its guest kernel mounts from a disk.
        attachments: network devices.
        shares: whether it serves host folders.
        max_disks: beside the boot disk.
        disk_limits: whether it limits the rate of a disk.
        snapshots: whether a machine can be captured and restored: the VMM is a :class:`~monocore_core.interfaces.vmm.SnapshotVmm`, and its
            machines are :class:`~monocore_core.interfaces.vmm.SnapshotMachine`.
        templates: whether machines may begin as copies of a captured one: the VMM is a
            :class:`~monocore_core.interfaces.vmm.TemplateVmm`.
        pausable: whether a machine can be paused: it is a :class:`~monocore_core.interfaces.vmm.PausableMachine`.
        adoptable: whether a machine outlives the process that started it and can be found again.
        jails: whether its processes run in a jail (:mod:`monocore_core.jail`) as ``Host.security`` asks; one whose processes do not is not used
            where a layer is required.
        tap_descriptors: whether a tap may be handed over open; else it is opened by its name.
        lacks: what this host misses for more, a sentence each with what to install.
    """

    architectures: frozenset[str]
    roots: frozenset[RootKind]
    disk_formats: frozenset[DiskFormat]
    filesystems: frozenset[str]
    attachments: frozenset[AttachmentKind]
    shares: bool = False
    max_disks: int = 4
    disk_limits: bool = False
    snapshots: bool = False
    templates: bool = False
    pausable: bool = False
    adoptable: bool = False
    jails: bool = False
    tap_descriptors: bool = True
    lacks: tuple[str, ...] = ()

    def refuse(self, spec: MachineSpec) -> str | None:
        """Why ``spec`` is beyond these capabilities, or None. Pure; VMMs call it before they act."""
        if spec.architecture not in self.architectures:
            return f"guests for {spec.architecture} are not supported"
        if (reason := self._refuse_attachment(spec.attachment)) is not None:
            return reason
        if spec.shares and not self.shares:
            return "host folders cannot be shared"
        return self._refuse_disks(spec.disks)

    def _refuse_disks(self, disks: tuple[Disk, ...]) -> str | None:
        if len(disks) > self.max_disks:
            return f"{len(disks)} disks are more than the {self.max_disks} that fit"
        for disk in disks:
            if disk.format not in self.disk_formats:
                return f"disk format {disk.format} is not supported"
            if disk.limits and not self.disk_limits:
                return "the rate of a disk cannot be limited"
        return None

    def _refuse_attachment(self, attachment: Attachment) -> str | None:
        if attachment.kind not in self.attachments:
            return f"network attachment {attachment.kind} is not supported"
        if isinstance(attachment, Tap) and attachment.fd is not None and not self.tap_descriptors:
            return "a tap is taken by its name only, not open"
        return None


Capabilities = SourceCapabilities | MergerCapabilities | NetworkCapabilities | VmmCapabilities


def no_problem(host: Host, options: object) -> Problem | None:
    """A probe for a backend that works everywhere."""
    del host, options
    return None


def not_narrowed(host: Host, options: object, capabilities: VmmCapabilities) -> VmmCapabilities:
    """For a VMM that can do the same everywhere."""
    del host, options
    return capabilities


@frozen(kw_only=True)
class Provider(Generic[T, OptionsT]):
    """Offers one backend. Use the subclass of the interface in question.

    Attributes:
        name: unique among the backends of its interface; ``[plugins.<name>]`` configures it.
        api: the contract version that the plugin was written for, as a literal.
        summary: a few words, for lists.
        rank: for ``auto``: the highest rank whose probe finds no problem wins; first-party backends use 10 to 100.
        options: attrs class of the backend's options, every field with a default.
        probe: says why this host cannot, or None. Changes nothing, raises nothing, takes milliseconds.
        create: an async context manager that opens the backend and closes it. Raises a MonocoreError when it cannot.
    """

    name: str
    api: int
    summary: str
    rank: int
    options: type[OptionsT]
    create: Callable[[Host, OptionsT], AbstractAsyncContextManager[T]]
    probe: Callable[[Host, OptionsT], Problem | None] = field(default=no_problem)


@frozen(kw_only=True)
class ImageSourceProvider(Provider[ImageSource, OptionsT]):
    """Offers an :class:`~monocore_core.interfaces.image_source.ImageSource`."""

    capabilities: SourceCapabilities = field(factory=SourceCapabilities)


@frozen(kw_only=True)
class LayerMergerProvider(Provider[LayerMerger, OptionsT]):
    """Offers a :class:`~monocore_core.interfaces.layer_merger.LayerMerger`."""

    capabilities: MergerCapabilities


@frozen(kw_only=True)
class NetworkProvider(Provider[Network, OptionsT]):
    """Offers a :class:`~monocore_core.interfaces.network.Network`."""

    capabilities: NetworkCapabilities


@frozen(kw_only=True)
class VmmProvider(Provider[Vmm, OptionsT]):
    """Offers a :class:`~monocore_core.interfaces.vmm.Vmm`.

    Attributes:
        capabilities: what the VMM can do where everything that it uses is installed.
        narrow: what is left of them on this host; as quick, and as harmless, as ``probe``.
    """

    capabilities: VmmCapabilities
    narrow: Callable[[Host, OptionsT, VmmCapabilities], VmmCapabilities] = field(default=not_narrowed)
