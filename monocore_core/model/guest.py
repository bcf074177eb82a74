"""What the host asks of the guest agent, and what it answers (``docs/guest-protocol.md``)."""

from __future__ import annotations

from attrs import field, frozen

from monocore_core.model.network import GuestNetwork


@frozen
class RootDisk:
    """The image's root is on the disk of this name, with this file system."""

    name: str
    filesystem: str


@frozen
class RootShare:
    """The image's root is the virtiofs share of this tag."""

    tag: str
    writable: bool = False


@frozen
class UpperMemory:
    """Writes go to a tmpfs of this many bytes (0: half of the guest's memory, the kernel's default)."""

    size: int = 0


@frozen
class UpperDisk:
    """Writes go to the ext4 file system on the disk of this name."""

    name: str


@frozen
class ShareMount:
    """A virtiofs share mounted in the sandbox; ``file``: it holds one file, and that is mounted."""

    tag: str
    target: str
    readonly: bool = False
    file: bool = False


@frozen
class TmpfsMount:
    """A tmpfs mounted in the sandbox; ``size`` in bytes, 0 for the kernel's default."""

    target: str
    size: int = 0


@frozen
class GuestSetup:
    """Everything that makes a booted, anonymous guest into one sandbox. Sent once, before any process.

    Attributes:
        root: where the image is.
        upper: where writes go; None leaves the root as it is (read-only, or a writable share).
        hostname: at most 64 bytes.
        mounts: in order, after the root.
        network: None configures loopback only.
        entropy: bytes credited to the guest's random pool before anything else happens.
        time_ns: the host's wall clock at sending, nanoseconds since the epoch.
        tied: the guest powers itself off when the host's end of the channel closes.
    """

    root: RootDisk | RootShare
    hostname: str
    entropy: bytes = field(repr=False)
    time_ns: int
    upper: UpperMemory | UpperDisk | None = field(factory=UpperMemory)
    mounts: tuple[ShareMount | TmpfsMount, ...] = ()
    network: GuestNetwork | None = None
    tied: bool = True


@frozen
class GuestRenewal:
    """What a guest whose processes are held is from here on, before they go on.

    Attributes:
        time_ns: the host's wall clock at sending, nanoseconds since the epoch.
        entropy: credited before anything else happens; a guest that goes on where it was needs none.
        hostname: a new one, or "".
        network: a new one, or None.
        other: it is another machine from now on: it needs entropy, and gets a machine id of its own.
        held: its processes do not go on yet, but at the next renewal.
        tied: from here on it powers itself off when the host's end of the channel closes; else that is as it was.
    """

    time_ns: int
    entropy: bytes = field(default=b"", repr=False)
    hostname: str = ""
    network: GuestNetwork | None = None
    other: bool = False
    held: bool = False
    tied: bool = False


@frozen
class TerminalSize:
    """Of a pseudo-terminal, in characters."""

    rows: int = 24
    columns: int = 80


@frozen
class Rlimit:
    """One resource limit by its name without prefix (``nofile``); -1 is unlimited."""

    name: str
    soft: int
    hard: int


@frozen
class ProcessSpec:
    """A process to run in the sandbox.

    Attributes:
        argv: at least one word; a first word without a slash is looked up in the PATH of ``env``.
        env: ``NAME=value`` entries, the whole environment. The agent adds HOME when it is missing.
        cwd: made when it does not exist, as Docker does for WORKDIR.
        user: ``""`` (root), ``user``, ``uid``, ``user:group``, ``uid:gid`` …; names are those of the image.
        terminal: size of a PTY that becomes the process's stdin, stdout and stderr; None for pipes.
        stdin: whether the host will write to its standard input; otherwise it is /dev/null.
        rlimits: applied before exec.
        keep: output that the host did not acknowledge, and the exit, survive the loss of the connection (at most 256 KiB a
            stream): the next one gets them without a gap. Otherwise what was on its way is lost.
        label: a name by which the next connection finds it; at most 64 bytes.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    terminal: TerminalSize | None = None
    stdin: bool = False
    rlimits: tuple[Rlimit, ...] = ()
    keep: bool = False
    label: str = ""


@frozen
class ProcessExit:
    """How a process ended.

    Attributes:
        code: exit code, or 128 + signal when it was killed by one, as a shell reports it.
        signal: the signal's number, or 0.
        oom: whether the guest's kernel killed it for lack of memory.
    """

    code: int
    signal: int = 0
    oom: bool = False


@frozen
class GuestStats:
    """A moment's resource use inside the guest. Said by the guest, hence informative only.

    Attributes:
        memory_total: bytes of RAM the guest's kernel manages.
        memory_available: bytes, the kernel's own estimate.
        cpu_ns: processor time used by everything since boot, nanoseconds.
        load1: one-minute load average, times 100.
        processes: number of processes, the kernel's own included.
        uptime_ns: nanoseconds since boot.
        oom_kills: processes killed for lack of memory since boot.
        disk_read_bytes: by the guest from all its disks since boot, the boot disk and the image's root included.
        disk_written_bytes: the same, written.
        network_received_bytes: by the interfaces that the VMM gave (``eth0``), since boot; not the loopback.
        network_received_packets: the same, in packets.
        network_sent_bytes: the other direction.
        network_sent_packets: the same, in packets.
        tasks: number of threads of all processes.
        memory_free: bytes that nothing uses.
        memory_cached: bytes of files that the kernel holds and, but for ``memory_shared``, can give up.
        memory_anonymous: bytes of processes' own memory.
        memory_shared: bytes in tmpfs, an upper layer in memory included, and in shared memory; part of ``memory_cached``.
    """

    memory_total: int
    memory_available: int
    cpu_ns: int
    load1: int
    processes: int
    uptime_ns: int
    oom_kills: int
    disk_read_bytes: int
    disk_written_bytes: int
    network_received_bytes: int
    network_received_packets: int
    network_sent_bytes: int
    network_sent_packets: int
    tasks: int
    memory_free: int
    memory_cached: int
    memory_anonymous: int
    memory_shared: int
