import subprocess
import sys
from pathlib import Path

import pytest

from monocore_core import __version__
from monocore_core.cli import main as cli
from monocore_core.cli import ps

HEAVY = (
    "asyncio",
    "attrs",
    "attr",
    "cattrs",
    "rich",
    "aiohttp",
    "pluggy",
    "argparse",
    "typing",
    "importlib.metadata",
)


def _python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_version_imports_nothing_heavy() -> None:
    code = (
        "import sys; from monocore_core.cli.main import main; status = main(['--version'])\n"
        "print(status, *sorted(sys.modules))"
    )
    said, loaded = _python(code).stdout.splitlines()
    assert said == f"monocore {__version__}"
    status, *modules = loaded.split()
    assert status == "0"
    assert not set(HEAVY) & set(modules)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from monocore_core.cli.main import main; main(['--help'])\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    ended = _python(code)
    assert "Commands:" in ended.stdout
    assert not (set(HEAVY) - {"argparse"}) & set(ended.stderr.split())


def test_what_asks_the_daemon_imports_nothing_that_takes_longer_than_its_answer() -> None:
    code = (
        "import os, sys\n"
        "from monocore_core.cli import ps\n"
        "from monocore_core.cli.globals import Globals\n"
        "from monocore_core.cli.reach import place_for, remote_of\n"
        "options = Globals()\n"
        "ps.build_parser().flags(['-a'], options)\n"
        "remote_of(options), place_for(options)\n"
        "print(*sorted(sys.modules))"
    )
    loaded = set(_python(code).stdout.split())
    assert "monocore_core.client.connection" in loaded
    slow = {
        "pathlib",
        "urllib.parse",
        "socket",
        "signal",
        "threading",
        "subprocess",
        "logging",
        "shutil",
        "tempfile",
        "tomllib",
    }
    assert not (set(HEAVY) - {"argparse"} | slow) & loaded


def test_a_list_without_flags_is_what_its_parser_makes_of_no_words() -> None:
    assert {**vars(ps.build_parser().parse_args([])), **vars(ps.plain())} == vars(
        ps.build_parser().parse_args([])
    )


def test_only_the_wanted_command_is_imported() -> None:
    code = (
        "import sys; from monocore_core.cli.main import main; main(['run', '--help'])\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    loaded = set(_python(code).stderr.split())
    assert "monocore_core.cli.run" in loaded
    assert not loaded & {
        "monocore_core.cli.pull",
        "monocore_core.cli.images",
        "monocore_core.engine",
        "rich",
        "asyncio",
    }


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: monocore ")
    assert "--debug" in text
    assert "--home DIR" in text


def test_without_words_and_with_help_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["help"], ["-h"]):
        assert cli.main(words) == 0
        text = capsys.readouterr().out
        assert all(name in text for name in cli.COMMANDS)


def test_help_of_a_command_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "run"]) == 0
    assert "IMAGE [COMMAND] [ARG...]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["rnu"],
            [
                "monocore: error: unknown command: rnu",
                "  hint: did you mean 'run'? 'monocore --help' lists what there is",
            ],
        ),
        (
            ["--foo", "run"],
            ["monocore: error: unknown flag: --foo", "  hint: 'monocore --help' lists what there is"],
        ),
        (
            ["run", "--foo", "x"],
            ["monocore: error: unknown flag: --foo", "  hint: 'monocore run --help' lists what there is"],
        ),
        (
            ["--config", "/nonexistent.toml", "plan", "x"],
            ["monocore: error: configuration file /nonexistent.toml does not exist"],
        ),
    ],
)
def test_words_that_make_no_sense(
    words: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 125
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == lines


def test_debug_works_on_either_side(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--debug", "plan", "x"], ["plan", "--debug", "x"]):
        assert cli.main([*words, "--config", "/nonexistent.toml"]) == 125
        assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_went_away_is_no_error() -> None:
    argv = [sys.executable, "-m", "monocore_core", "--help"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) in (0, 141)


def test_full_disk_under_standard_output_is_said() -> None:
    argv = [sys.executable, "-m", "monocore_core", "--version"]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert ended.returncode == 125
    assert b"No space left on device" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_closed_standard_streams_do_no_harm() -> None:
    command = f'exec "{sys.executable}" -m monocore_core --version <&- >&- 2>&-'
    ended = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=30, check=False)
    assert ended.returncode == 0
    assert ended.stderr == b""
