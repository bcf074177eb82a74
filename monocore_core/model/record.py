"""What is known of a sandbox that the daemon keeps: what was asked, what became of it, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen, validators

from monocore_core.errors import InvalidInput
from monocore_core.model.image import Image
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.model.security import Layer

#: Labels of one sandbox, and bytes of one.
MAX_LABELS, MAX_LABEL = 64, 4096
_LABEL_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._/-]{0,126}[a-zA-Z0-9])?\Z")


class SandboxState(StrEnum):
    """Where a sandbox is in its life."""

    CREATED = "created"
    """It has a record, and nothing else."""
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    ENDING = "ending"
    """Its command has ended; its machine is being taken away."""
    EXITED = "exited"
    """Nothing runs. Its record, its log and its writable disk are left."""

    @property
    def live(self) -> bool:
        """Whether it has a machine, or may have one."""
        return self not in (SandboxState.CREATED, SandboxState.EXITED)


class EndReason(StrEnum):
    """Why a run ended."""

    EXITED = "exited"
    """Its command ended by itself."""
    KILLED = "killed"
    """Somebody stopped or killed it."""
    OOM = "oom"
    """The guest's kernel killed its command for want of memory."""
    TIMEOUT = "timeout"
    """Its time was up."""
    IDLE = "idle"
    """Nobody had used it for as long as it may be idle."""
    UNHEALTHY = "unhealthy"
    """Its health check had failed too often, and it was stopped."""
    VMM_FAILED = "vmm-failed"
    """Its machine ended under it."""
    START_FAILED = "start-failed"
    """It could not be started."""
    LOST = "lost"
    """Its machine was gone when the daemon came back: the host was restarted, or the machine killed meanwhile."""


@frozen
class SandboxEnd:
    """How a run ended.

    Attributes:
        code: exit status of its command, as Docker's (128 + n after signal n; 125 when it never ran; 137 when its machine was killed).
        reason: why.
        detail: a sentence for a person, or "".
        time: seconds since the epoch.
    """

    code: int
    reason: EndReason
    detail: str = ""
    time: float = 0.0


@frozen
class SettingsSource:
    """Where the settings of one sandbox come from, as its client saw it; nothing given: the daemon's own.

    Attributes:
        cwd: folder in which ``monocore.toml`` is looked for, or "".
        file: a configuration file that was named, or "".
        environ: ``MONOCORE_…`` variables, as (name, value).
        overrides: from flags, as (dotted path, text).
    """

    cwd: str = ""
    file: str = ""
    environ: tuple[tuple[str, str], ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.cwd or self.file or self.environ or self.overrides)


@frozen
class HostLimits:
    """What a sandbox's VMM may use of the host; 0 for no limit. Where the host cannot enforce one, the sandbox's log says why.

    Attributes:
        cpu: processors' worth of time, all of its virtual processors together.
        pids: processes and threads.
    """

    cpu: float = field(default=0.0, validator=validators.ge(0.0))
    pids: int = field(default=0, validator=validators.ge(0))

    def __bool__(self) -> bool:
        return bool(self.cpu or self.pids)


@frozen
class SandboxOrder:
    """Everything that is asked of a sandbox that the daemon keeps.

    Attributes:
        sandbox: the machine and its root.
        command: what it runs, and when that ends, it ends; None: it runs until it is stopped.
        labels: for people and programs; they change nothing.
        remove: its record and log go when it ends.
        timeout: seconds that one run may take, or None.
        idle_timeout: seconds without output, exec, or anybody attached after which it is stopped, or None.
        stop_signal: sent to its command first; 0 for the image's STOPSIGNAL, else SIGTERM.
        stop_grace: seconds until it is ended by force.
        settings: where its settings come from.
        limits: of its VMM on the host.
    """

    sandbox: SandboxRequest
    command: CommandRequest | None = None
    labels: Mapping[str, str] = field(factory=dict[str, str])
    remove: bool = False
    timeout: float | None = field(default=None, validator=validators.optional(validators.gt(0.0)))
    idle_timeout: float | None = field(default=None, validator=validators.optional(validators.gt(0.0)))
    stop_signal: int = field(default=0, validator=[validators.ge(0), validators.le(64)])
    stop_grace: float = field(default=10.0, validator=validators.ge(0.0))
    settings: SettingsSource = SettingsSource()
    limits: HostLimits = HostLimits()

    def __attrs_post_init__(self) -> None:
        if len(self.labels) > MAX_LABELS:
            raise InvalidInput(f"{len(self.labels)} labels are more than the {MAX_LABELS} that a sandbox has")
        for name, value in self.labels.items():
            if not _LABEL_NAME.match(name) or len(value.encode()) > MAX_LABEL:
                raise InvalidInput(
                    f"label {name[:130]!r} is not allowed",
                    hint="a name of letters, digits and ./_-, and at most 4096 bytes of text",
                )


@frozen
class Placement:
    """With which backends a sandbox was started."""

    image_source: str
    layer_merger: str
    network: str
    vmm: str


@frozen
class SandboxRecord:
    """One sandbox.

    Attributes:
        id: twelve hexadecimal digits.
        name: unique among all records.
        order: what was asked.
        state: now.
        created: seconds since the epoch, as every time here.
        started: when its latest run's command was started, or 0.
        runs: how often it was started.
        known_as: what the guest calls the command of its latest run, where that is not the run's label: the run goes on as another did.
        image: of which its latest run is made.
        placement: of its latest run.
        pid: of its machine's process on the host, while it runs; else 0.
        layers: of the jail of its machine's process, in its latest run.
        ports: that are reachable at the host, a text each (``0.0.0.0:8080->80/tcp``).
        stages: of its latest start, as (name, seconds since the start began).
        began: how its machine did then: ``boot``, ``copy`` of a template or of a sandbox, ``spare`` of the pool; "" where that is not known.
        began_reason: why it booted, when something stood against a copy.
        end: of its latest run, once that has ended.
        requested: whether its latest end was somebody's wish (stop, kill), not its own doing.
        partial: it is one of several that are there together or not at all, and they are not all there yet.
    """

    id: str
    name: str
    order: SandboxOrder
    state: SandboxState = SandboxState.CREATED
    created: float = 0.0
    started: float = 0.0
    runs: int = 0
    known_as: str = ""
    image: Image | None = None
    placement: Placement | None = None
    pid: int = 0
    layers: tuple[Layer, ...] = ()
    ports: tuple[str, ...] = ()
    stages: tuple[tuple[str, float], ...] = ()
    began: str = ""
    began_reason: str = ""
    end: SandboxEnd | None = None
    requested: bool = False
    partial: bool = False

    @property
    def label(self) -> str:
        """Of its latest run, in its log."""
        return f"main-{self.runs}"

    @property
    def guest_label(self) -> str:
        """By which the guest knows the command of its latest run."""
        return self.known_as or self.label
