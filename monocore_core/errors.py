"""The error vocabulary: a small closed set, raised by the core and by every plugin.

Each error has a *brief* that names the object and says what is wrong, an optional *hint* that says what to do,
and the exception that caused it as ``__cause__``. ``code`` is stable and is what an API reports; ``exit_status`` is what
the command line ends with (Docker's habit: 125 is monocore's own failure, 126 and 127 are the command's).

Library code raises these and never prints or exits. A plugin that needs a finer distinction subclasses one of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class MonocoreError(Exception):
    """Base of everything monocore raises on purpose.

    Args:
        brief: one sentence that names the object and says what is wrong.
        hint: what the reader can do about it, or None.
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 125

    def __init__(self, brief: str, *, hint: str | None = None) -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint

    def __str__(self) -> str:
        return self.brief


class InvalidInput(MonocoreError):
    """Something a person or program gave us is malformed: a reference, a flag, a size, a request."""

    code = "invalid-input"


class ConfigError(InvalidInput):
    """Configuration is wrong. ``problems`` holds every finding, each with its path, not only the first."""

    code = "invalid-config"

    def __init__(self, brief: str, *, problems: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(brief, hint=hint)
        self.problems = problems


class NotFound(MonocoreError):
    """The named image, layer, sandbox, plugin or file does not exist."""

    code = "not-found"


class Conflict(MonocoreError):
    """The request contradicts what exists: a name in use, an image that a sandbox holds, a duplicate."""

    code = "conflict"


class Unauthorized(MonocoreError):
    """Credentials are missing, wrong, or not enough."""

    code = "unauthorized"


class Unauthenticated(Unauthorized):
    """The daemon does not know who asks: a token is missing, wrong, expired or revoked."""

    code = "unauthenticated"


class Unreachable(MonocoreError):
    """A remote party did not answer as it should: connection, DNS, TLS, or a server error after every retry."""

    code = "unreachable"


class DeadlineExceeded(MonocoreError):
    """Something took longer than it was allowed to."""

    code = "deadline-exceeded"


class TooSlow(DeadlineExceeded):
    """A client sends so slowly that it is not waited for."""

    code = "too-slow"


class Corrupt(MonocoreError):
    """Bytes are not what they claim to be: a wrong digest, a truncated stream, a malformed archive."""

    code = "corrupt"


class Unsupported(MonocoreError):
    """Understood, but not something this backend, build or host can do."""

    code = "unsupported"


class LimitExceeded(MonocoreError):
    """Untrusted input is larger, deeper or longer than its bound."""

    code = "limit-exceeded"


class StorageError(MonocoreError):
    """The host's disk refused: no space, read-only, I/O error."""

    code = "storage"


class PluginError(MonocoreError):
    """A plugin is broken, duplicated, made for another contract version, or broke its contract."""

    code = "plugin"


class NothingFits(MonocoreError):
    """No combination of installed backends can do what was asked. ``reasons`` says why, a line a candidate."""

    code = "nothing-fits"

    def __init__(self, brief: str, *, reasons: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(brief, hint=hint)
        self.reasons = reasons


class ServicesFailed(MonocoreError):
    """Some services of a project are not where they were to be. ``failures`` says why, a sentence each; ``up`` names those that run."""

    code = "services-failed"

    def __init__(
        self, brief: str, *, failures: tuple[str, ...] = (), up: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(brief, hint=hint)
        self.failures = failures
        self.up = up


class MachineError(MonocoreError):
    """The virtual machine monitor failed: it did not start, boot in time, or ended by itself."""

    code = "machine"


class GuestError(MonocoreError):
    """The guest agent refused, failed, or broke the protocol."""

    code = "guest"


class CommandNotExecutable(GuestError):
    """The command exists in the image but cannot be run (permission, format, a directory)."""

    code = "command-not-executable"
    exit_status = 126


class CommandNotFound(GuestError):
    """The command does not exist in the image."""

    code = "command-not-found"
    exit_status = 127
