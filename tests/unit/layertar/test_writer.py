"""Headers that we write: our reader and the standard library's read back what went in, whatever it is."""

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from monocore_core.layertar import END, Entry, EntryKind, entry_header, padding, read_layer

part = st.binary(min_size=1, max_size=90).filter(
    lambda data: not {0, 0x2F} & set(data) and data not in {b".", b".."} and not data.startswith(b".wh.")
)
paths = st.lists(part, min_size=1, max_size=4).map(b"/".join)
times = st.integers(-(10**9) * 10**9, 2**63)
names = st.sampled_from([b"user.a", b"security.capability"])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(EntryKind))
    device = (0, 0)
    if kind in {EntryKind.CHARACTER, EntryKind.BLOCK}:
        device = (draw(st.integers(0, 4095)), draw(st.integers(0, (1 << 20) - 1)))
    link = draw(paths) if kind in {EntryKind.SYMLINK, EntryKind.HARDLINK} else b""
    return Entry(
        path=draw(paths),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 1)),
        gid=draw(st.integers(0, 2**32 - 1)),
        mtime_ns=draw(times),
        size=draw(st.integers(0, 2000)) if kind is EntryKind.FILE else 0,
        link=link,
        device=device,
        xattrs=draw(st.dictionaries(names, st.binary(min_size=1, max_size=40), max_size=2)),
    )


@given(st.lists(entries(), max_size=5))
def test_our_reader_reads_it_back(written: list[Entry]) -> None:
    tar = b"".join(entry_header(each) + bytes(each.size) + padding(each.size) for each in written) + END
    found = list(read_layer(io.BytesIO(tar)))
    for wrote, read in zip(written, found, strict=True):
        assert isinstance(read, Entry)
        for name in ("path", "kind", "mode", "uid", "gid", "mtime_ns", "size", "link", "device", "xattrs"):
            assert getattr(read, name) == getattr(wrote, name), name


@given(entries())
def test_the_standard_library_reads_it_back(wrote: Entry) -> None:
    tar = entry_header(wrote) + bytes(wrote.size) + padding(wrote.size) + END
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as archive:
        (read,) = archive.getmembers()
    assert read.name.encode("utf-8", "surrogateescape") == wrote.path
    assert (read.mode, read.uid, read.gid, read.size) == (wrote.mode, wrote.uid, wrote.gid, wrote.size)
    assert read.linkname.encode("utf-8", "surrogateescape") == wrote.link


def test_large_numbers_and_the_root() -> None:
    large = Entry(b"disk", EntryKind.FILE, 0o600, size=1 << 40)
    header = entry_header(large)
    assert b" size=1099511627776\n" in header
    assert len(header) == 3 * 512
    (root,) = read_layer(io.BytesIO(entry_header(Entry(b"", EntryKind.DIRECTORY, 0o755)) + END))
    assert isinstance(root, Entry)
    assert (root.path, root.kind) == (b"", EntryKind.DIRECTORY)
