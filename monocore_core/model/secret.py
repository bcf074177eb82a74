"""Secrets of a service: where their values come from, and how a process gets them. No value here ever holds one in clear."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

#: Folder in the guest in which secrets are files: a tmpfs of its own, so that they are on no disk and hide nothing of the image.
SECRETS_FOLDER = "/run/secrets"
#: Size of that tmpfs, bytes.
SECRETS_SIZE = 4 * 1024 * 1024
#: Largest secret, bytes.
MAX_SECRET = 64 * 1024


@frozen
class SecretFile:
    """The content of a file of the host, as it stands.

    Attributes:
        path: absolute.
    """

    path: Path

    def __str__(self) -> str:
        return f"file {self.path}"


@frozen
class SecretEnvironment:
    """A variable of the environment of the program that starts the service."""

    variable: str

    def __str__(self) -> str:
        return f"variable {self.variable}"


@frozen
class SecretCommand:
    """What a program of the host writes to its standard output, without the last line feed. Never run by a shell.

    Attributes:
        command: program and arguments.
        cwd: folder it runs in, absolute.
        timeout: seconds.
    """

    command: tuple[str, ...] = field(validator=validators.min_len(1))
    cwd: Path = Path("/")
    timeout: float = 30.0

    def __str__(self) -> str:
        return f"command {self.command[0]}"


SecretSource = SecretFile | SecretEnvironment | SecretCommand


@frozen
class Secret:
    """A secret of a service: exactly one of ``target`` and ``variable`` says how it arrives.

    Attributes:
        name: unique in the service.
        source: where the value is read, whenever an instance is started.
        target: path of a file below :data:`SECRETS_FOLDER`.
        variable: of the process's environment.
        mode: permissions of the file.
        user: owner of the file, as :attr:`~monocore_core.model.guest.ProcessSpec.user`; "" for the process's own user.
    """

    name: str
    source: SecretSource
    target: str = ""
    variable: str = ""
    mode: int = 0o400
    user: str = ""

    def __attrs_post_init__(self) -> None:
        if bool(self.target) == bool(self.variable):
            raise ValueError(f"secret {self.name!r} needs either a target or a variable")
        if self.target and not self.target.startswith(f"{SECRETS_FOLDER}/"):
            raise ValueError(f"secret {self.name!r} has a target outside {SECRETS_FOLDER}")
