"""One file has settings, services and the daemon's table; each reader takes its part."""

import subprocess
import sys
from pathlib import Path

import pytest

from monocore_core.config.load import load_settings
from monocore_core.config.project import Reading, load_project
from monocore_core.errors import ConfigError
from monocore_core.model.daemon import DaemonSettings

TEXT = """
home = "state"
project = "shop"
[daemon]
socket = "/run/m.sock"
listen = ["127.0.0.1:3456", "[0::1]:80"]
idle_exit = "10m"
log_max_size = "1m"
log_retention = "${DAYS:-90}d"
log_total_size = 512
log_format = "json"
metrics_interval = "500ms"
metrics_history = 0
stop_grace = 3
[[service]]
name = "web"
base = "alpine"
[[group]]
name = "g"
"""


def settings(text: str, tmp_path: Path, **overrides: str) -> DaemonSettings:
    path = tmp_path / "monocore.toml"
    path.write_text(text)
    named = {f"daemon.{key}": value for key, value in overrides.items()}
    return load_settings(environ={}, cwd=tmp_path, file=path, overrides=named).daemon


def test_one_file_has_everything(tmp_path: Path) -> None:
    assert settings(TEXT, tmp_path) == DaemonSettings(
        socket="/run/m.sock",
        listen=("127.0.0.1:3456", "[::1]:80"),
        idle_exit=600.0,
        log_max_size=2**20,
        log_retention=90 * 86400.0,
        log_total_size=512 * 2**20,
        log_format="json",
        metrics_interval=0.5,
        metrics_history=0.0,
        stop_grace=3.0,
    )
    project = load_project(tmp_path / "monocore.toml", Reading())
    assert (project.name, [one.name for one in project.services]) == ("shop", ["web"])
    assert load_settings(environ={}, cwd=tmp_path).home == tmp_path / "state"


def test_defaults_and_flags(tmp_path: Path) -> None:
    assert settings("", tmp_path) == DaemonSettings()
    assert settings("[daemon]\n", tmp_path) == DaemonSettings()
    assert settings("[daemon]\nidle_exit = 5", tmp_path, idle_exit="1h", log_format="json") == DaemonSettings(
        idle_exit=3600.0, log_format="json"
    )


def test_what_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings("[daemon]\nlisten = ['x']\nlog_retension = 1\nmetrics_interval = 0", tmp_path)
    where = tmp_path / "monocore.toml"
    assert caught.value.problems == (
        f"{where}: daemon.listen[0]: 'x' is not ADDRESS:PORT, such as 127.0.0.1:3456",
        f"{where}: daemon.log_retension: unknown key; did you mean 'log_retention'?",
        f"{where}: daemon.metrics_interval: 0 is out of range: more than 0, at most 100 years",
    )


def test_settings_are_read_without_the_services_parser(tmp_path: Path) -> None:
    (tmp_path / "monocore.toml").write_text("[[service]]\nname = 'web'\nnonsense = 1\n")
    code = (
        "import sys, pathlib; from monocore_core.config.load import load_settings\n"
        f"load_settings(environ={{}}, cwd=pathlib.Path({str(tmp_path)!r}))\nprint(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    modules = set(loaded.stdout.split())
    assert "monocore_core.config.load" in modules
    assert not modules & {
        "cattrs",
        "tomlkit",
        "asyncio",
        "monocore_core.config.tables",
        "monocore_core.config.project",
    }
