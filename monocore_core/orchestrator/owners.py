"""The numbers of a user as an image knows them: ``passwd(5)`` and ``group(5)``. Pure."""

from __future__ import annotations

from monocore_core.errors import InvalidInput
from monocore_core.model.guestfile import FileOwner

#: Bytes of either file that are looked at.
MAX_DATABASE = 256 * 1024
_MAX_ID = 2**32 - 2


def owner_of(user: str, passwd: str, group: str) -> FileOwner:
    """Owner and group of a process's user.

    Args:
        user: ``""`` (root), ``user``, ``uid``, or either with ``:group`` or ``:gid`` behind it.
        passwd: the image's ``/etc/passwd``; a number need not be in it.
        group: its ``/etc/group``.

    Raises:
        InvalidInput: the image does not know a name, or a number is none.
    """
    name, _, wanted = user.partition(":")
    uid, gid = _user(name or "0", passwd)
    return FileOwner(uid, _group(wanted, group) if wanted else gid)


def _user(name: str, passwd: str) -> tuple[int, int]:
    number = _number(name)
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and (fields[0] == name or (number is not None and _number(fields[2]) == number)):
            uid, gid = _number(fields[2]), _number(fields[3])
            if uid is not None and gid is not None:
                return uid, gid
    if number is None:
        raise InvalidInput(f"the image has no user {name[:80]!r}", hint="give its number")
    return number, 0


def _group(name: str, group: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[0] == name and (gid := _number(fields[2])) is not None:
            return gid
    raise InvalidInput(f"the image has no group {name[:80]!r}", hint="give its number")


def _number(text: str) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= _MAX_ID:
        return int(text)
    return None
