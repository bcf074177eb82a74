"""Writing trees: refusals by name, stopping, descriptors, and what happens where something cannot be kept."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from attrs import define, field

from monocore_core.erofs import Node, directory
from monocore_core.errors import Corrupt, StorageError, Unsupported
from monocore_core.foldertree import Keep, Notes, Tars, copy_range, write_tree
from monocore_core.foldertree import content as content_module
from monocore_core.foldertree.crew import Crew
from monocore_core.layertar import Segment
from monocore_core.model.rootfs import Ownership


def go_on() -> None:
    pass


@define(eq=False)
class Zeros:
    """Files of nothing but their size; remembers how many descriptors were open at most."""

    root: int = -1
    most: int = 0
    lock: threading.Lock = field(factory=threading.Lock)

    def fill(self, node: Node, target: int, folder: int, name: bytes) -> None:
        os.ftruncate(target, node.size)
        with self.lock:
            self.most = max(self.most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208


def file(size: int = 0) -> Node:
    return Node(stat.S_IFREG | 0o644, os.geteuid(), os.getegid(), size=size, source=0)


def folder(children: dict[bytes, Node]) -> Node:
    node = directory(children)
    node.uid, node.gid = os.geteuid(), os.getegid()
    return node


def test_descriptors_do_not_grow_with_the_tree(tmp_path: Path) -> None:
    deep = folder({b"f": file()})
    for _ in range(700):
        deep = folder({b"d": deep, b"f": file()})
    wide = folder({b"d%d" % index: folder({b"f": file()}) for index in range(1500)})
    content = Zeros()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    write_tree(folder({b"deep": deep, b"wide": wide}), tmp_path / "root", content, Keep.here(), go_on)
    assert content.most < before + 150
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert len(list((tmp_path / "root" / "wide").iterdir())) == 1500


def test_it_can_be_stopped_and_leaves_no_descriptor(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 100:
            raise StopError

    tree = folder({b"d%d" % index: folder({b"f%d" % n: file(1) for n in range(50)}) for index in range(40)})
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(StopError):
        write_tree(tree, tmp_path / "root", Zeros(), Keep.here(), check)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("foldertree")]


def test_a_failing_file_is_named_and_ends_the_rest(tmp_path: Path) -> None:
    @define(eq=False)
    class Failing:
        root: int = -1
        filled: int = 0

        def fill(self, node: Node, target: int, folder: int, name: bytes) -> None:
            self.filled += 1
            if node.size == 7:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    files = {b"f%04d" % index: file(1) for index in range(4000)}
    content = Failing()
    tree = folder({b"d": folder({b"bad": file(7), **files})})
    with pytest.raises(StorageError, match=r"'d/bad': Input/output error"):
        write_tree(tree, tmp_path / "root", content, Keep.here(), go_on)
    assert content.filled < 3000


def test_names_that_no_file_system_holds_are_refused_by_path(tmp_path: Path) -> None:
    tree = folder({b"d": folder({b"n" * 300: file()})})
    with pytest.raises(Unsupported, match=r"'d/nnn.*longer than this file system takes"):
        write_tree(tree, tmp_path / "root", Zeros(), Keep.here(), go_on)


def test_a_file_with_many_names_is_one(tmp_path: Path) -> None:
    one = file(5)
    tree = folder({b"a": one, b"d": folder({b"b": one, b"c": one})})
    write_tree(tree, tmp_path / "root", Zeros(), Keep.here(), go_on)
    assert (tmp_path / "root" / "a").stat().st_nlink == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


@pytest.mark.root
def test_devices_with_many_names_are_left_out_everywhere(tmp_path: Path) -> None:
    device = Node(stat.S_IFCHR | 0o600, device=(1, 3))
    tree = folder({b"a": device, b"b": device, b"c": file()})
    keep = Keep(Ownership.OVERRIDE_STAT)
    write_tree(tree, tmp_path / "root", Zeros(), keep, go_on)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["c"]
    assert keep.notes.sentences() == ["'a': device nodes are left out, since only root can make them"]


def test_attributes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    node = file()
    node.xattrs = {b"user.big": b"v" * 70_000}
    with pytest.raises(Unsupported, match=r"'f': extended attribute 'user.big' of 70000 bytes does not fit"):
        write_tree(folder({b"f": node}), tmp_path / "root", Zeros(), Keep.here(), go_on)


def test_inherited_access_lists_do_not_reach_the_tree(tmp_path: Path) -> None:
    given = bytes.fromhex(
        "02000000 01000700ffffffff 02000700e8030000 04000700ffffffff 10000700ffffffff 20000700ffffffff"
    )
    os.setxattr(tmp_path, "system.posix_acl_default", given)
    write_tree(folder({b"d": folder({b"f": file()})}), tmp_path / "root", Zeros(), Keep.here(), go_on)
    for path in (tmp_path / "root", tmp_path / "root" / "d", tmp_path / "root" / "d" / "f"):
        assert not [name for name in os.listxattr(path) if "acl" in name]


def test_data_that_is_not_there_is_corrupt_and_named(tmp_path: Path) -> None:
    tar = tmp_path / "tar"
    tar.write_bytes(b"x" * 1000)
    for size in (2000, 200_000):
        with tar.open("rb") as opened:
            tars = Tars({0: opened.fileno()}, {}, go_on)
            with pytest.raises(Corrupt, match="'f': its data goes beyond"):
                write_tree(folder({b"f": file(size)}), tmp_path / f"root{size}", tars, Keep.here(), go_on)


def refused(*words: int) -> int:
    """As where a file system does not copy."""
    del words
    return 0


@pytest.mark.parametrize("kernel", [True, False])
def test_runs_and_segments_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    """With and without the kernel's own copying."""
    if not kernel:
        monkeypatch.setattr(content_module, "_in_kernel", refused)
    tar = tmp_path / "tar"
    data = os.urandom(3 << 20)
    tar.write_bytes(data)
    run, sparse = file(2_500_001), file(1 << 32)
    run.block = 3
    segments = (Segment(5, 100, 7), Segment(1 << 31, 100_000, 999), Segment((1 << 32) - 10, 10, 0))
    with tar.open("rb") as opened:
        tars = Tars({0: opened.fileno()}, {sparse: segments}, go_on)
        write_tree(folder({b"run": run, b"sparse": sparse}), tmp_path / "root", tars, Keep.here(), go_on)
    assert (tmp_path / "root" / "run").read_bytes() == data[1536 : 1536 + 2_500_001]
    with (tmp_path / "root" / "sparse").open("rb") as found:
        assert os.fstat(found.fileno()).st_size == 1 << 32
        assert os.fstat(found.fileno()).st_blocks * 512 < 1 << 20
        assert os.pread(found.fileno(), 200, 0) == bytes(5) + data[7:107] + bytes(95)
        assert os.pread(found.fileno(), 100_001, 1 << 31) == data[999:100_999] + b"\0"
        assert os.pread(found.fileno(), 20, (1 << 32) - 10) == data[:10]


def test_copying_can_be_stopped(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 100_000)
    with source.open("rb") as one, target.open("wb") as two, pytest.raises(StopError):
        copy_range(one.fileno(), 0, two.fileno(), 0, 100_000, check=stop)


def test_the_crew_tells_the_first_failure_and_drops_the_rest() -> None:
    done: list[int] = []
    dropped: list[int] = []

    def fail() -> None:
        raise ValueError("first")

    def work() -> None:
        with Crew(2) as crew:
            crew.submit(fail, go_on)
            for index in range(1000):
                crew.submit(partial(done.append, index), partial(dropped.append, index))

    with pytest.raises(ValueError, match="first"):
        work()
    assert len(done) + len(dropped) < 1000
    assert not set(done) & set(dropped)


def test_notes_count() -> None:
    notes = Notes()
    notes.add("lost", b"a/b")
    notes.add("lost", b"c")
    notes.add("other", b"\xff")
    notes.say("A sentence.")
    assert notes.sentences() == ["A sentence.", "'a/b' and 1 more: lost", r"'\xff': other"]


OWNERS = """
import os, stat, sys
from pathlib import Path
from monocore_core.erofs import Node, directory
from monocore_core.foldertree import Keep, Tars, write_tree
tree = directory({b"f": Node(stat.S_IFREG | 0o4750, 1234, 5678), b"g": Node(stat.S_IFREG | 0o644)})
keep = Keep.here()
write_tree(tree, Path(sys.argv[1]), Tars({}, {}, lambda: None), keep, lambda: None)
print(keep.ownership, os.getxattr(f"{sys.argv[1]}/f", "user.containers.override_stat"))
print(*keep.notes.sentences())
print(oct(os.stat(f"{sys.argv[1]}/f").st_mode))
"""


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        pytest.param(
            ["unshare", "--user", "--map-root-user"],
            "does not exist in this user namespace",
            marks=pytest.mark.needs("unshare", "util-linux"),
            id="namespace",
        ),
        pytest.param(
            ["setpriv", "--inh-caps=-chown", "--bounding-set=-chown"],
            "may not be given by us",
            marks=[pytest.mark.root, pytest.mark.needs("setpriv", "util-linux")],
            id="capability",
        ),
    ],
)
def test_owners_that_cannot_be_given_are_said(tmp_path: Path, prefix: list[str], why: str) -> None:
    argv = [*prefix, sys.executable, "-c", OWNERS, str(tmp_path / "root")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.stderr.startswith("unshare: "):
        pytest.skip(f"user namespaces, or this Python in one, are not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "native b'1234:5678:04750'",
        f"'f': its owner {why}, and was not kept",
        "0o100750",
    ]
