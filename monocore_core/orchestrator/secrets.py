"""Secrets: read when an instance is started, given to its guest, written down nowhere.

What the state database has of them is a digest under a key of this home's, so that a changed secret shows and a short one is not guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from attrs import field, frozen

from monocore_core.errors import (
    DeadlineExceeded,
    GuestError,
    InvalidInput,
    LimitExceeded,
    MonocoreError,
    NotFound,
)
from monocore_core.model.guestfile import FileOwner
from monocore_core.model.secret import MAX_SECRET, SecretCommand, SecretEnvironment, SecretFile, SecretSource
from monocore_core.model.service import Service
from monocore_core.orchestrator.owners import MAX_DATABASE, owner_of
from monocore_core.processes.asking import ask
from monocore_core.sandbox import Sandbox
from monocore_core.store.atomic import publish, storage_errors

_KEY_SIZE = 32


@frozen
class Values:
    """The values of one service's secrets, by their names. Never shown."""

    _values: Mapping[str, bytes] = field(repr=False)

    def of(self, name: str) -> bytes:
        """The value of one."""
        return self._values[name]

    def digests(self, key: bytes) -> dict[str, str]:
        """A keyed digest (HMAC-SHA256, in hex) of each."""
        return {
            name: hmac.new(key, name.encode() + b"\0" + value, hashlib.sha256).hexdigest()
            for name, value in self._values.items()
        }

    async def deliver(self, service: Service, sandbox: Sandbox) -> tuple[str, ...]:
        """Write those that are files into the guest's tmpfs; gives those that are variables.

        Raises:
            InvalidInput: a value cannot be a variable's.
            GuestError, NotFound: the guest refused a file, or does not know its owner.
        """
        variables: list[str] = []
        for secret in service.secrets:
            value = self._values[secret.name]
            if secret.variable:
                variables.append(f"{secret.variable}={_text(service, secret.name, value)}")
                continue
            user = secret.user or service.user or sandbox.image.config.user
            owner = await _owner(sandbox, user)
            await sandbox.guest.files.write(
                secret.target, _once(value), mode=secret.mode, parents=True, owner=owner
            )
        return tuple(variables)


async def read_secrets(service: Service, environ: Mapping[str, str]) -> Values:
    """Read what a service is to be given.

    Args:
        service: whose.
        environ: variables of the program that starts it.

    Raises:
        NotFound, InvalidInput, LimitExceeded, DeadlineExceeded: a secret cannot be read; says which, and nothing of its value.
    """
    values: dict[str, bytes] = {}
    for secret in service.secrets:
        what = f"service {service.name!r}: secret {secret.name!r} ({secret.source})"
        values[secret.name] = await _read(secret.source, what, environ)
    return Values(values)


def digest_key(home: Path) -> bytes:
    """The key of this home's digests, made when there is none: a random file of mode 0600.

    Raises:
        StorageError: the disk refuses.
    """
    path = home / "secrets.key"
    with storage_errors(f"keep the key of secrets' digests in {path}"):
        with contextlib.suppress(FileNotFoundError):
            found = path.read_bytes()
            if len(found) == _KEY_SIZE:
                return found
        key = os.urandom(_KEY_SIZE)
        temporary = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, key)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        publish(temporary, path)
    return key


async def _read(source: SecretSource, what: str, environ: Mapping[str, str]) -> bytes:
    if isinstance(source, SecretFile):
        return await asyncio.to_thread(_read_file, source.path, what)
    if isinstance(source, SecretEnvironment):
        value = environ.get(source.variable)
        if value is None:
            raise NotFound(
                f"{what}: the variable is not set", hint="set it where the services are brought up from"
            )
        return _bounded(os.fsencode(value), what)
    return await _run(source, what)


def _read_file(path: Path, what: str) -> bytes:
    try:  # not to wait for somebody who opens the other end of a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else InvalidInput
        raise kind(f"{what}: {error.strerror}") from error
    try:  # before a file object is made of it: of a folder there is none
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInput(f"{what}: it is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return _bounded(file.read(MAX_SECRET + 1), what)
    except OSError as error:
        raise InvalidInput(f"{what}: {error.strerror}") from error
    finally:
        os.close(descriptor)


async def _run(source: SecretCommand, what: str) -> bytes:
    """What a program writes. Its errors are not shown: they might say what it knows."""
    try:
        answer = await ask(source.command, limit=MAX_SECRET, seconds=source.timeout, cwd=source.cwd)
    except TimeoutError as error:
        raise DeadlineExceeded(f"{what}: it took longer than {source.timeout:g} s") from error
    except LimitExceeded as error:
        raise _too_long(what) from error
    except OSError as error:
        raise NotFound(f"{what}: {error.strerror}") from error
    if answer.status != 0:
        raise InvalidInput(f"{what}: it ended with {answer.status}")
    return answer.output.removesuffix(b"\n")


def _bounded(value: bytes, what: str) -> bytes:
    if len(value) > MAX_SECRET:
        raise _too_long(what)
    return value


def _too_long(what: str) -> LimitExceeded:
    return LimitExceeded(f"{what}: it is longer than {MAX_SECRET} bytes")


def _text(service: Service, name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidInput(
            f"service {service.name!r}: secret {name!r} has bytes that no variable can hold",
            hint="give it as a file: target = …",
        )
    return text


async def _owner(sandbox: Sandbox, user: str) -> FileOwner:
    async def database(path: str) -> str:
        found = bytearray()
        with contextlib.suppress(NotFound):
            async for part in sandbox.guest.files.read(path, length=MAX_DATABASE):
                found += part
        return found.decode(errors="replace")

    try:
        return owner_of(user, await database("/etc/passwd"), await database("/etc/group"))
    except InvalidInput:
        raise
    except MonocoreError as error:
        raise GuestError(f"who {user!r} is cannot be read from the image: {error.brief}") from error


async def _once(value: bytes) -> AsyncIterator[bytes]:
    yield value
