"""Who we are at a registry: Docker's ``config.json``, podman's ``auth.json``, and their ``docker-credential-*`` programs."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define, field, frozen

from monocore_core.errors import Corrupt, LimitExceeded, Unauthorized
from monocore_core.model.events import Listener, Warned
from monocore_core.ocidoc import document
from monocore_core.ocidoc.limits import MAX_WORD
from monocore_core.processes.asking import Answer, ask
from monocore_oci_registry.endpoints import DOCKER_HUB, DOCKER_HUB_HOST
from monocore_oci_registry.options import RegistryOptions

#: Bytes of a file or of a helper's output.
MAX_SIZE = 1 << 20
#: The name under which Docker keeps the Hub's credentials, for reasons of history.
HUB_KEY = "https://index.docker.io/v1/"
#: A user name that says that the secret is an identity token (docker-credential-helpers).
TOKEN_USER = "<token>"  # noqa: S105 - not a password
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_HUB_NAMES = frozenset({DOCKER_HUB, DOCKER_HUB_HOST, "index.docker.io"})


@frozen
class Credential:
    """A name and a password, or an identity token for OAuth2, or a token to show as it is."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """Value of an ``Authorization`` header."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


def candidate_files(environ: Mapping[str, str], options: RegistryOptions) -> Iterator[Path]:
    """Files that may hold credentials, in the order in which they are asked."""
    if options.auth_file is not None:
        yield options.auth_file.expanduser()
        return
    home = Path(environ.get("HOME") or "/nonexistent")
    if value := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(value)
    yield Path(environ["DOCKER_CONFIG"] if environ.get("DOCKER_CONFIG") else home / ".docker") / "config.json"
    if value := environ.get("XDG_RUNTIME_DIR"):
        yield Path(value) / "containers" / "auth.json"
    config = environ.get("XDG_CONFIG_HOME")
    yield (Path(config) if config else home / ".config") / "containers" / "auth.json"


@define(eq=False)
class Credentials:
    """Finds credentials; reads the files anew each time, since people log in meanwhile."""

    options: RegistryOptions
    emit: Listener
    environ: Mapping[str, str] = field(factory=lambda: os.environ)
    _warned: set[Path] = field(factory=set[Path], init=False)

    async def find(self, host: str, repository: str) -> Credential | None:
        """Credentials for a repository at a registry, or None.

        Raises:
            Unauthorized: a credential helper that is responsible for the registry failed; it says how.
        """
        for path in candidate_files(self.environ, self.options):
            table = self._read(path)
            if table is not None:
                try:
                    found = await self._in_file(table, host, repository)
                except Corrupt as error:
                    self._warn(path, error.brief)
                    continue
                if found is not None:
                    return found
        return None

    def _read(self, path: Path) -> document.Object | None:
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_SIZE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._warn(path, error.strerror or str(error))
            return None
        if len(data) > MAX_SIZE:
            self._warn(path, f"it is larger than {MAX_SIZE} bytes")
            return None
        try:
            return document.load(data, "the file")
        except (Corrupt, LimitExceeded) as error:
            self._warn(path, error.brief)
            return None

    def _warn(self, path: Path, reason: str) -> None:
        if path not in self._warned:
            self._warned.add(path)
            self.emit(Warned(f"credentials in {path} are not used: {reason}"))

    async def _in_file(self, table: document.Object, host: str, repository: str) -> Credential | None:
        keys = tuple(_keys(host, repository))
        helpers = document.mapping(table, "credHelpers", "the file")
        for key in keys:
            if key in helpers:
                return await self._from_helper(document.text(helpers, key, "credHelpers", MAX_WORD), key)
        if store := document.text(table, "credsStore", "the file", MAX_WORD):
            found = await self._from_helper(store, HUB_KEY if host in _HUB_NAMES else host)
            if found is not None:
                return found
        auths = document.mapping(table, "auths", "the file")
        normal = {_normal(key): key for key in reversed(tuple(auths))}
        for key in keys:
            if (name := key if key in auths else normal.get(_normal(key))) is not None:
                found = _entry(document.mapping(auths, name, "auths"), name)
                if found is not None:
                    return found
        return None

    async def _from_helper(self, name: str, server: str) -> Credential | None:
        if not _HELPER_NAME.match(name):
            raise Corrupt(f"credential helper {name[:80]!r} is not a name")
        program = f"docker-credential-{name}"
        path = shutil.which(program, path=self.environ.get("PATH"))
        if path is None:
            raise Unauthorized(
                f"the credential helper for {server} is not installed: {program}",
                hint="install it, or remove it from Docker's config.json",
            )
        answer = await _run(path, server.encode(), self.options.helper_timeout)
        words = " ".join(answer.output.decode(errors="replace").split())[:200]
        if answer.status != 0:
            if "credentials not found" in words.lower():
                return None
            raise Unauthorized(
                f"{program} gave no credentials for {server}: {words or f'exit code {answer.status}'}"
            )
        try:
            table = document.load(answer.output, f"the answer of {program}")
            user, secret = (
                document.text(table, "Username", program, MAX_WORD),
                document.text(table, "Secret", program, MAX_WORD),
            )
        except (Corrupt, LimitExceeded) as error:
            raise Unauthorized(f"{program} gave no credentials for {server}: {error.brief}") from error
        if user == TOKEN_USER:
            return Credential(identity_token=secret)
        return Credential(user, secret) if user or secret else None


def _keys(host: str, repository: str) -> Iterator[str]:
    """Under which names credentials may be kept, the most particular first (podman has them for namespaces)."""
    names = (HUB_KEY, DOCKER_HUB, "index.docker.io", DOCKER_HUB_HOST) if host in _HUB_NAMES else (host,)
    parts = repository.split("/")
    for name in names:
        if "://" not in name:
            for length in range(len(parts), 0, -1):
                yield f"{name}/{'/'.join(parts[:length])}"
    yield from names


def _normal(key: str) -> str:
    """``https://host/v1/`` and its like to ``host``; a namespace stays."""
    bare = key.partition("://")[2] or key
    bare = bare.rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2").lower()


def _entry(entry: document.Object, name: str) -> Credential | None:
    token = document.text(entry, "identitytoken", name, MAX_WORD)
    if token:
        return Credential(identity_token=token)
    token = document.text(entry, "registrytoken", name, MAX_WORD)
    if token:
        return Credential(registry_token=token)
    user, password = (
        document.text(entry, "username", name, MAX_WORD),
        document.text(entry, "password", name, MAX_WORD),
    )
    if packed := document.text(entry, "auth", name, MAX_WORD):
        try:
            plain = base64.b64decode(packed, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Corrupt(f"auths.{name[:80]}.auth is not base64 of name:password") from error
        user, colon, password = plain.partition(":")
        if not colon:
            raise Corrupt(f"auths.{name[:80]}.auth is not base64 of name:password")
    return Credential(user, password) if user else None


async def _run(path: str, sent: bytes, seconds: float) -> Answer:
    """Run a helper.

    Raises:
        Unauthorized: it does not end, says too much, or cannot be started.
    """
    name = Path(path).name
    try:
        return await ask((path, "get"), sent=sent + b"\n", limit=MAX_SIZE, seconds=seconds)
    except TimeoutError:
        raise Unauthorized(f"{name} did not answer within {seconds:g} s") from None
    except LimitExceeded:
        raise Unauthorized(f"{name} says more than {MAX_SIZE} bytes") from None
    except OSError as error:
        raise Unauthorized(f"{name} cannot be started: {error.strerror}") from error
