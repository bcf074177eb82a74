"""Contexts: names for daemons elsewhere, kept in the user's configuration folder.

``$XDG_CONFIG_HOME/monocore/contexts/NAME.json`` (default ``~/.config``), mode 0600 in a folder of mode 0700, has where one is, the token for
it and whom to trust; ``current-context`` in the folder above has the name of the one that is used where nothing else is said. Each file is written as
a whole, so that two programs that change contexts at once lose none.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from monocore_core.client.current import CURRENT, DEFAULT, config_folder, read_current
from monocore_core.client.tables import Table, flag, inner, parse_table, text
from monocore_core.client.trust import Trust
from monocore_core.errors import ConfigError, Conflict, Corrupt, InvalidInput, NotFound, StorageError

#: Bytes of one file, characters of a name.
MAX_FILE, MAX_NAME = 64 * 1024, 63
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Context:
    """A daemon elsewhere, by name.

    Attributes:
        name: unique.
        url: where it is.
        token: or "". Never shown.
        tls: whom to trust.
        description: for people.
        plain: the token may be sent without TLS.
    """

    __slots__ = ("description", "name", "plain", "tls", "token", "url")

    def __init__(
        self,
        name: str,
        url: str,
        *,
        token: str = "",
        tls: Trust | None = None,
        description: str = "",
        plain: bool = False,
    ) -> None:
        self.name = name
        self.url = url
        self.token = token
        self.tls = tls or Trust()
        self.description = description
        self.plain = plain


class Contexts:
    """Those of a user.

    Attributes:
        folder: ``~/.config/monocore``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Contexts:
        """Of who has this environment."""
        return cls(Path(config_folder(environ)))

    def current(self) -> str:
        """The name of the one that is used where nothing else is said; ``default`` for none."""
        return read_current(str(self.folder))

    def use(self, name: str) -> None:
        """From now on it is that one.

        Raises:
            NotFound: there is none. StorageError: the disk refuses.
        """
        if name != DEFAULT:
            self.get(name)
            self._write(self.folder / CURRENT, f"{name}\n")
            return
        with contextlib.suppress(FileNotFoundError):
            (self.folder / CURRENT).unlink()

    def names(self) -> list[str]:
        """Of all, in order."""
        try:
            found = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(
            name.removesuffix(".json") for name in found if name.endswith(".json") and name[0] != "."
        )

    def get(self, name: str) -> Context:
        """One.

        Raises:
            NotFound: there is none. ConfigError: others can read or write it, or it is malformed.
        """
        check_name(name)
        path = self._folder / f"{name}.json"
        try:
            table = parse_table(_read(path))
        except FileNotFoundError:
            known = ", ".join((DEFAULT, *self.names()))
            raise NotFound(f"there is no context {name!r} (contexts: {known})") from None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except Corrupt as error:
            raise ConfigError(f"{path} is no context", hint=f"monocore context rm {name}") from error
        tls = inner(table, "tls")
        return Context(
            name,
            text(table, "host"),
            token=text(table, "token"),
            tls=Trust(**{key: text(tls, key) for key in Trust.__slots__}),
            description=text(table, "description"),
            plain=flag(table, "allow_plain_text"),
        )

    def create(self, context: Context, *, replace: bool = False) -> None:
        """Keep one.

        Raises:
            Conflict: there is one of its name, which is not to be replaced. InvalidInput: the name is none.
            StorageError: the disk refuses.
        """
        check_name(context.name)
        if context.name == DEFAULT:
            raise InvalidInput(f"{DEFAULT!r} is the daemon of this host", hint="choose another name")
        path = self._folder / f"{context.name}.json"
        if path.exists() and not replace:
            raise Conflict(
                f"there is a context {context.name!r} already", hint="--replace puts this in its place"
            )
        table: Table = {
            "host": context.url,
            "token": context.token,
            "description": context.description,
            "allow_plain_text": context.plain,
            "tls": {key: getattr(context.tls, key) for key in Trust.__slots__},
        }
        self._write(path, json.dumps(table, indent=1) + "\n")

    def remove(self, name: str, *, force: bool = False) -> None:
        """Forget one, with its token.

        Raises:
            NotFound: there is none. Conflict: it is the current one, and ``force`` is not given.
        """
        check_name(name)
        if name == DEFAULT:
            raise InvalidInput(f"{DEFAULT!r} is the daemon of this host, and cannot be removed")
        if self.current() == name:
            if not force:
                raise Conflict(
                    f"context {name!r} is the current one", hint="monocore context use default, or -f"
                )
            self.use(DEFAULT)
        try:
            (self._folder / f"{name}.json").unlink()
        except FileNotFoundError:
            raise NotFound(f"there is no context {name!r}", hint="monocore context ls lists them") from None

    @property
    def _folder(self) -> Path:
        return self.folder / "contexts"

    def _write(self, path: Path, words: str) -> None:
        """A file that is there as a whole, or as it was before; for nobody else's eyes."""
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, words.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise StorageError(f"cannot write {path}: {error.strerror}") from error


def check_name(name: str) -> None:
    """Refuse what is no name of a context.

    Raises:
        InvalidInput: it is none.
    """
    if not 1 <= len(name) <= MAX_NAME or not set(name) <= _LETTERS or name[0] in ".-":
        raise InvalidInput(
            f"{name[:80]!r} is not the name of a context",
            hint="letters, digits, '_', '.' and '-', at most 63",
        )


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigError(
                f"{path} has a token, and others can read or write it", hint=f"chmod 600 {path}"
            )
        return os.read(fd, MAX_FILE)
    finally:
        os.close(fd)
