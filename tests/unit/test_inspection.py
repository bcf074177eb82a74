"""The inspection that ``conftest.py`` makes of every session notices what it is there for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"

Session = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Run one test file in a pytest session of its own, under the workspace's conftest."""
    text = CONFTEST.read_text()
    for patient, hasty in (
        ("GRACE = 5.0", "GRACE = 0.2"),
        ("LIMIT, SLOW_LIMIT = 120.0", "LIMIT, SLOW_LIMIT = 0.5"),
    ):
        assert patient in text
        text = text.replace(patient, hasty)
    (tmp_path / "conftest.py").write_text(text)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers\nmarkers =\n  root: r\n  kvm: k\n  slow: s\n  needs(program, package): n\n"
    )

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(body: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_inner.py").write_text(body)
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-ra",
            "-p",
            "no:cacheprovider",
            f"--basetemp={tmp_path}/base",
            ".",
        ]
        return subprocess.run(
            argv,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_clean_session_passes(session: Session) -> None:
    done = session("def test_nothing():\n    pass\n")
    assert done.returncode == 0, done.stdout


def test_a_process_left_behind_fails_the_session(session: Session, tmp_path: Path) -> None:
    done = session(
        "import subprocess, pathlib\n"
        "def test_leaves_a_daemon():\n"
        "    child = subprocess.Popen(['sleep', '61'], start_new_session=True, stdout=-3, stderr=-3)\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "    child.returncode = 0\n"
    )
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert done.returncode == 1
    assert "the tests left behind:" in done.stdout
    assert "sleep 61" in done.stdout


@pytest.mark.root
@pytest.mark.integration
@pytest.mark.needs("mount", "mount")
def test_a_mount_left_behind_fails_the_session(session: Session, tmp_path: Path) -> None:
    done = session(
        "import subprocess\n"
        "def test_leaves_a_mount(tmp_path):\n"
        "    subprocess.run(['mount', '-t', 'tmpfs', 'none', str(tmp_path)], check=True)\n"
    )
    target = tmp_path / "base" / "test_leaves_a_mount0"
    subprocess.run(["umount", str(target)], check=True)
    assert done.returncode == 1
    assert f"mount {target}" in done.stdout


NEEDY_ITSELF = "import pytest\ndef test_it():\n    pytest.skip('no-such-program is not installed')\n"
NEEDY = "import pytest\n@pytest.mark.needs('no-such-program', 'no-such-package')\ndef test_it():\n    pass\n"


def test_a_missing_program_skips_with_the_reason(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONOCORE_TEST_STRICT", raising=False)
    done = session(NEEDY)
    assert done.returncode == 0
    assert "needs no-such-program (Debian package no-such-package)" in done.stdout
    assert "1 skipped" in done.stdout


def test_a_missing_program_fails_where_it_is_promised(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONOCORE_TEST_STRICT", "1")
    done = session(NEEDY)
    assert done.returncode == 1
    assert "MONOCORE_TEST_STRICT is set" in done.stdout


@pytest.mark.parametrize(("strict", "status"), [("", 0), ("1", 1)])
def test_a_test_may_not_skip_itself_where_nothing_is_missing(
    session: Session, monkeypatch: pytest.MonkeyPatch, strict: str, status: int
) -> None:
    monkeypatch.setenv("MONOCORE_TEST_STRICT", strict)
    done = session(NEEDY_ITSELF)
    assert done.returncode == status, done.stdout
    assert "no-such-program is not installed" in done.stdout


def test_a_test_that_hangs_fails_and_the_next_one_runs(session: Session) -> None:
    done = session(
        "import subprocess\n"
        "def test_hangs():\n"
        "    with subprocess.Popen(['sleep', '62']) as process:\n"
        "        try:\n"
        "            process.wait()\n"
        "        finally:\n"
        "            process.kill()\n"
        "def test_next():\n"
        "    pass\n"
    )
    assert done.returncode == 1
    assert "call of test_inner.py::test_hangs took longer than 0.5 s" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_patience_stretches_the_limit(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOCORE_TEST_PATIENCE", "40")
    done = session(
        "import subprocess\ndef test_is_slow():\n    subprocess.run(['sleep', '0.8'], check=True)\n"
    )
    assert done.returncode == 0, done.stdout


def test_tests_have_a_home_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    for name in ("MONOCORE_HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        assert Path(os.environ[name]).is_relative_to(base), name
