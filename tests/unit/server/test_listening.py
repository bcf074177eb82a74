"""The daemon's socket: who may open it, that it is removed at the end, and that one from systemd is taken and kept from children."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.errors import InvalidInput, StorageError
from monocore_core.server.listening import activated, listening


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """Descriptor of a socket as systemd gives it: it listens, and is inherited by every child."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "given"))
        made.listen()
        fd = os.dup(made.fileno())
    os.set_inheritable(fd, True)  # noqa: FBT003 - of the standard library
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "monocore.socket")
    yield fd
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(fd)  # whoever took it has closed it


def test_the_socket_is_its_owners_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("left by one that died")
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_the_path_may_be_longer_than_an_address(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    with listening(folder / "s"):
        assert stat.S_ISSOCK((folder / "s").stat().st_mode)


def test_a_socket_that_took_the_name_meanwhile_stays(tmp_path: Path) -> None:
    """As when systemd's socket is enabled while a daemon runs, which is then replaced."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        with listening(path):
            path.unlink()
            other.bind(str(path))
            other.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot listen on"), listening(tmp_path / ("y" * 200)):
        pass


def test_a_socket_from_systemd_is_taken_and_no_child_gets_it(given: int) -> None:
    taken = activated(given)
    assert taken is not None
    with taken:
        assert taken.fileno() == given
        assert not os.get_inheritable(given)
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & os.environ.keys()


def test_a_socket_for_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert activated() is None


@pytest.mark.parametrize("count", ["0", "2", "x", ""])
def test_there_is_to_be_one_socket(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    with pytest.raises(InvalidInput, match="not one"):
        activated()


def test_what_is_given_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv("LISTEN_FDS", "1")
    try:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        with pytest.raises(InvalidInput, match="no socket"):
            activated(reader)
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "1")
        with pytest.raises(InvalidInput, match="listening Unix socket"):
            activated(socket.socket(socket.AF_INET).detach())
    finally:
        os.close(reader)
        os.close(writer)
