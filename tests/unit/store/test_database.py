"""The state database, open more than once: in one process, as engines of different settings have it, and in others, which come and go."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from monocore_core.store.database import Database
from monocore_core.store.locks import Locks

_COMES_AND_GOES = """
import sys
from pathlib import Path
from monocore_core.store.database import Database
from monocore_core.store.locks import Locks
base = Database(Path(sys.argv[1], "state.db"), Locks(Path(sys.argv[1], "locks")))
print(len(base.query("SELECT * FROM volumes")))
base.close()
"""


def opened(folder: Path) -> Database:
    (folder / "locks").mkdir(exist_ok=True)
    return Database(folder / "state.db", Locks(folder / "locks"))


def seen_from_elsewhere(folder: Path) -> int:
    """How many volumes another process finds, which opens the database and closes it."""
    command = [sys.executable, "-c", _COMES_AND_GOES, str(folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write(base: Database, name: str) -> None:
    with base.transaction() as connection:
        connection.execute("INSERT INTO volumes VALUES (?, 0)", (name,))


@pytest.mark.parametrize("closes", [False, True])
def test_a_second_one_in_the_process_does_not_part_it_from_others(tmp_path: Path, *, closes: bool) -> None:
    base = opened(tmp_path)
    write(base, "one")
    log = (tmp_path / "state.db-wal").stat()
    other = opened(tmp_path)
    if closes:
        other.close()
    assert seen_from_elsewhere(tmp_path) == 1
    assert (tmp_path / "state.db-wal").stat().st_ino == log.st_ino, "another process took itself for the last"
    write(base, "two")
    assert seen_from_elsewhere(tmp_path) == 2
    other.close()
    base.close()
    assert seen_from_elsewhere(tmp_path) == 2


def test_its_files_are_for_its_owner_alone(tmp_path: Path) -> None:
    base = opened(tmp_path)
    write(base, "one")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("state.db*")}
    base.close()
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)
