"""Reading the configuration: ``monocore.toml``, then the environment, then flags; the later wins.

The file is the first that exists of: the one given, ``$MONOCORE_CONFIG``, ``./monocore.toml``,
``$XDG_CONFIG_HOME/monocore/monocore.toml`` (default ``~/.config``). As its options name programs to run, a file that was found rather than
given must belong to the user or to root and be writable by nobody else.

Environment: ``MONOCORE_HOME``, ``MONOCORE_VMM``, ``MONOCORE_LAYER_MERGER``, ``MONOCORE_NETWORK``, ``MONOCORE_IMAGE_SOURCE``, and
``MONOCORE_PLUGINS__<BACKEND>__<OPTION>`` for a backend's option. Values of options are TOML where they parse as such, else text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import tomli
from attrs import evolve, field, frozen

from monocore_core.config.find import find_file, read_file
from monocore_core.config.origin import placed
from monocore_core.config.values import Backends, Settings, VolumePolicy
from monocore_core.errors import ConfigError
from monocore_core.model.daemon import DaemonSettings
from monocore_core.model.pool import USUAL, PoolSettings
from monocore_core.model.security import Security
from monocore_core.serde import structure

_BACKEND_KEYS = ("image_source", "layer_merger", "network", "vmm")
_PLUGIN_PREFIX = "MONOCORE_PLUGINS__"

Table = Mapping[str, object]


@frozen
class _File:
    """The top level of ``monocore.toml``."""

    home: str = ""
    backends: Backends = field(factory=Backends)
    plugins: dict[str, dict[str, object]] = field(factory=dict[str, dict[str, object]])
    volumes: VolumePolicy = field(factory=VolumePolicy)
    security: Security = field(factory=Security)
    daemon: dict[str, object] = field(factory=dict[str, object])
    pool: dict[str, object] = field(factory=dict[str, object])
    # what the file says of services is read by monocore_core.config.project, when there is something to do with them
    project: object = None
    service: object = None
    services: object = None
    group: object = None
    groups: object = None


_OF_SERVICES = frozenset({"project", "service", "services", "group", "groups"})


def load_settings(
    *,
    environ: Mapping[str, str],
    cwd: Path,
    file: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """Read, merge and validate the configuration.

    Args:
        environ: the process's environment.
        cwd: folder to look for ``monocore.toml`` in.
        file: a configuration file to read instead of looking for one.
        overrides: from flags: dotted path to text, e.g. ``{"backends.vmm": "vmm_qemu"}``.

    Raises:
        ConfigError: with every problem of the file, its paths named.
        NotFound: ``file`` or ``$MONOCORE_CONFIG`` names a file that does not exist.
    """
    found = find_file(str(file) if file is not None else None, environ, str(cwd))
    source = Path(found) if found is not None else None
    raw: dict[str, object] = _read(source) if source else {}
    from_environment = _from_environment(environ)
    for path, (_, text) in from_environment.items():
        _set(raw, path, text)
    for path, text in (overrides or {}).items():
        _set(raw, path, text)
    given = {path: name for path, (name, _) in from_environment.items()} | dict.fromkeys(
        overrides or (), "a flag"
    )
    parsed = _plain(raw) or _structured(raw, str(source) if source else "configuration", given)
    home = Path(parsed.home or "~/.monocore").expanduser()
    if not home.is_absolute():
        home = (source.parent if source else cwd) / home
    settings = Settings(
        home=home,
        backends=parsed.backends,
        plugins=parsed.plugins,
        volumes=parsed.volumes,
        security=parsed.security,
        pool=USUAL,
        source=source,
        given=given,
    )
    if parsed.daemon:
        settings = evolve(settings, daemon=_daemon(parsed.daemon, source, environ))
    return evolve(settings, pool=_pool(parsed.pool, source, environ)) if parsed.pool else settings


def _daemon(table: Table, source: Path | None, environ: Mapping[str, str]) -> DaemonSettings:
    from monocore_core.config.daemon import daemon_settings  # noqa: PLC0415 - most files have none

    return daemon_settings(table, str(source) if source else "configuration", environ)


def _pool(table: Table, source: Path | None, environ: Mapping[str, str]) -> PoolSettings:
    from monocore_core.config.daemon import pool_settings  # noqa: PLC0415 - most files have none

    return pool_settings(table, str(source) if source else "configuration", environ)


def _plain(raw: Table) -> _File | None:
    """The common case, without the converter, whose import takes longer than everything else here: only a home, and services."""
    home = raw.get("home", "")
    return _File(home) if raw.keys() - _OF_SERVICES <= {"home"} and isinstance(home, str) else None


def _read(path: Path) -> dict[str, object]:
    text = read_file(str(path))
    try:
        return dict(tomli.loads(text))
    except (ValueError, RecursionError) as error:  # ValueError also of a number with thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _structured(raw: Table, where: str, given: Mapping[str, str]) -> _File:
    try:
        return structure(raw, _File, where)
    except ConfigError as error:
        alone = error.brief.removeprefix(f"{where}: ")
        lines = placed(error.problems or [alone], given, where)
        if all(line.startswith(where) for line in lines):
            raise
        if len(lines) == 1:
            raise ConfigError(lines[0], hint=error.hint) from error
        raise ConfigError(f"{len(lines)} problems", problems=lines, hint=error.hint) from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Dotted paths to the variable that sets each, and its text."""
    found: dict[str, tuple[str, str]] = {}
    if environ.get("MONOCORE_HOME"):
        found["home"] = "MONOCORE_HOME", str(Path(environ["MONOCORE_HOME"]).absolute())
    for key in _BACKEND_KEYS:
        name = f"MONOCORE_{key.upper()}"
        if environ.get(name):
            found[f"backends.{key}"] = name, environ[name]
    for name, text in environ.items():
        if name.startswith(_PLUGIN_PREFIX):
            plugin, _, option = name.removeprefix(_PLUGIN_PREFIX).lower().partition("__")
            found[f"plugins.{plugin}.{option}"] = name, text
    return found


def _set(table: dict[str, object], path: str, text: str) -> None:
    """Put ``text`` at a dotted path, making tables on the way."""
    *parents, last = path.split(".")
    inner: object
    if not last or not all(parents):
        raise ConfigError(
            f"{path!r} is not a setting", hint="a setting is a dotted path, e.g. plugins.vmm_qemu.accel"
        )
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{path!r} is not a setting: {parent!r} is not a table")
        table = cast("dict[str, object]", inner)
    table[last] = (
        toml_value(text)
        if parents[:1] in (["plugins"], ["volumes"], ["security"], ["daemon"], ["pool"])
        else text
    )


def toml_value(text: str) -> object:
    """``text`` as a TOML value where it is one, else as it stands."""
    try:
        return tomli.loads(f"value = {text}")["value"] if "\n" not in text else text
    except (ValueError, RecursionError):
        return text
