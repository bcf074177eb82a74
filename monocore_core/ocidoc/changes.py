"""Instructions of a Dockerfile that change an image's configuration and nothing else: what ``commit --change`` takes. Pure.

As the Dockerfile reference has them: ``CMD`` and ``ENTRYPOINT`` take a JSON list of words, or a line for the shell; ``ENV`` and
``LABEL`` pairs ``NAME=value`` whose values may be quoted, or one name and the rest of the line; ``EXPOSE`` ports; ``VOLUME`` a JSON list, or paths;
``USER``, ``WORKDIR``, ``STOPSIGNAL`` and ``ONBUILD`` the rest of the line.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from monocore_core.errors import InvalidInput

#: Changes of one image, and characters of one.
MAX_CHANGES, MAX_CHANGE = 128, 32 * 1024
_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?\Z")
_VARIABLE = re.compile(r"[^=\s]+\Z")
Section = dict[str, object]


def apply_changes(section: Mapping[str, object], changes: Iterable[str]) -> Section:
    """The section ``config`` of an image's configuration, changed.

    Args:
        section: as it is; keys that nobody here knows stay.
        changes: an instruction each.

    Raises:
        InvalidInput: one makes no sense; the message names it.
    """
    changed = dict(section)
    listed = list(changes)
    if len(listed) > MAX_CHANGES:
        raise InvalidInput(f"{len(listed)} changes are more than the {MAX_CHANGES} that are taken at once")
    for change in listed:
        if len(change) > MAX_CHANGE or "\0" in change or "\n" in change:
            raise InvalidInput(f"change {change[:80]!r} is too long, or no single line")
        word, _, rest = change.strip().partition(" ")
        act = _ACTS.get(word.upper())
        if act is None:
            raise InvalidInput(
                f"change {change[:80]!r} is no instruction that changes an image's configuration",
                hint=f"they are {', '.join(_ACTS)}",
            )
        try:
            act(changed, rest.strip())
        except ValueError as error:
            raise InvalidInput(f"change {change[:80]!r}: {error}") from error
    return changed


def _command(section: Section, rest: str) -> None:
    section["Cmd"] = _words_or_shell(rest)


def _entrypoint(section: Section, rest: str) -> None:
    """As a Dockerfile does, it drops the image's command, which was for another one."""
    section["Entrypoint"] = _words_or_shell(rest)
    section.pop("Cmd", None)


def _environment(section: Section, rest: str) -> None:
    known = section.get("Env")
    listed = [str(one) for one in cast("list[object]", known)] if isinstance(known, list) else []
    for name, value in _pairs(rest):
        listed = [one for one in listed if one.partition("=")[0] != name]
        listed.append(f"{name}={value}")
    section["Env"] = listed


def _labels(section: Section, rest: str) -> None:
    section["Labels"] = {**_table(section, "Labels"), **dict(_pairs(rest))}


def _ports(section: Section, rest: str) -> None:
    ports = dict(_table(section, "ExposedPorts"))
    for word in _some(shlex.split(rest)):
        if not _PORT.match(word.lower()):
            raise ValueError(f"{word[:40]!r} is not a port")
        ports[word.lower() if "/" in word else f"{word}/tcp"] = {}
    section["ExposedPorts"] = ports


def _volumes(section: Section, rest: str) -> None:
    volumes = dict(_table(section, "Volumes"))
    for path in _listed(rest) or _some(shlex.split(rest)):
        volumes[path] = {}
    section["Volumes"] = volumes


def _user(section: Section, rest: str) -> None:
    section["User"] = _one(rest)


def _folder(section: Section, rest: str) -> None:
    """A relative one is below that which was set before."""
    before = section.get("WorkingDir")
    section["WorkingDir"] = posixpath.normpath(
        posixpath.join("/", before if isinstance(before, str) else "", _one(rest))
    )


def _stop_signal(section: Section, rest: str) -> None:
    section["StopSignal"] = _one(rest)


def _on_build(section: Section, rest: str) -> None:
    known = section.get("OnBuild")
    section["OnBuild"] = [*(cast("list[object]", known) if isinstance(known, list) else []), _some([rest])[0]]


_ACTS: Mapping[str, Callable[[Section, str], None]] = {
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
    "ENV": _environment,
    "EXPOSE": _ports,
    "LABEL": _labels,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volumes,
    "WORKDIR": _folder,
}


def _words_or_shell(rest: str) -> list[str]:
    listed = _listed(rest)
    if listed is not None:
        return listed
    return [*_SHELL, _some([rest])[0]]


def _listed(rest: str) -> list[str] | None:
    """A JSON list of texts, or None for anything else, which is a line."""
    if not rest.startswith("["):
        return None
    try:
        found: object = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in cast("list[object]", found)):
        return None
    return cast("list[str]", found)


def _pairs(rest: str) -> list[tuple[str, str]]:
    words = _some(shlex.split(rest))
    if "=" not in words[0]:  # the old form: a name, and the rest of the line
        name, _, value = rest.partition(" ")
        if not value.strip():
            raise ValueError(f"{name[:80]!r} has no value; write NAME=value")
        return [(name, value.strip())]
    pairs = [(name, value) for name, _, value in (word.partition("=") for word in words)]
    for word, (name, _) in zip(words, pairs, strict=True):
        if "=" not in word or not _VARIABLE.match(name):
            raise ValueError(f"{word[:80]!r} is not NAME=value")
    return pairs


def _one(rest: str) -> str:
    words = _some(shlex.split(rest))
    if len(words) > 1:
        raise ValueError("one word is expected")
    return words[0]


def _some(words: list[str]) -> list[str]:
    if not words or not words[0]:
        raise ValueError("it says nothing")
    return words


def _table(section: Section, key: str) -> Mapping[str, object]:
    found = section.get(key)
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else {}
