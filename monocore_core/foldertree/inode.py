"""Makes one file of any type, and gives it what the image says of it, as far as this user and file system can."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial

from attrs import field, frozen

from monocore_core.erofs import Node
from monocore_core.errors import Corrupt, StorageError, Unsupported
from monocore_core.foldertree.content import Content
from monocore_core.foldertree.notes import Notes
from monocore_core.hostcalls import attributes
from monocore_core.layertree import show
from monocore_core.model.rootfs import Ownership

OVERRIDE = "user.containers.override_stat"
_NOT_ROOT = (
    "the image's owners are kept in extended attributes only, since we are not root: where the VMM does not read"
    f" {OVERRIDE}, every file in the guest belongs to one user"
)
_OVERRIDE = OVERRIDE.encode()
#: What :meth:`Keep.make` returns beside descriptors.
COMPLETE, LEFT_OUT = -1, -2
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_ALLOWED = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL})
_NO_XATTR = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL})
_XATTR_TOO_LARGE = frozenset({errno.ENOSPC, errno.E2BIG, errno.ERANGE})
#: What a file system refuses of the file itself, by errno, for a person.
_IMPOSSIBLE = {
    errno.ENAMETOOLONG: "its name or target is longer than this file system takes",
    errno.EMLINK: "it has more hard links than this file system takes",
    errno.EFBIG: "it is larger than this file system takes",
}


@frozen(eq=False)
class Keep:
    """How owners and modes are kept.

    Attributes:
        ownership: natively, which takes root, or in an extended attribute.
        notes: receives what could not be kept.
    """

    ownership: Ownership
    notes: Notes = field(factory=Notes)

    @classmethod
    def here(cls) -> Keep:
        """The best that this process can do."""
        return cls(Ownership.NATIVE if os.geteuid() == 0 else Ownership.OVERRIDE_STAT)

    def warnings(self) -> list[str]:
        """What to tell a person of a tree that was written, in sentences."""
        lost = [] if self.ownership is Ownership.NATIVE else [_NOT_ROOT]
        return self.notes.sentences() + lost

    def make(self, at: int, name: bytes, node: Node, path: bytes) -> int:
        """Make anything but a folder, without content.

        Args:
            at: descriptor of the folder.
            name: in it; nothing has it yet.
            node: what to make.
            path: in the image, for messages.

        Returns:
            The descriptor of a new regular file, to be filled, then given to :meth:`dress` and closed; ``COMPLETE`` for
            other types; ``LEFT_OUT`` when it cannot be made here, which is noted.
        """
        mode = node.mode
        if stat.S_ISREG(mode):
            return os.open(name, _NEW_FILE, 0o600, dir_fd=at)
        if stat.S_ISLNK(mode):
            os.symlink(node.data, name, dir_fd=at)
        elif stat.S_ISFIFO(mode):
            os.mkfifo(name, 0o600, dir_fd=at)
        elif not self._device(at, name, node, path):
            return LEFT_OUT
        self._dress_name(at, name, node, path)
        return COMPLETE

    def dress(self, descriptor: int, node: Node, path: bytes) -> None:
        """Give a regular file or folder its owner, attributes, mode and time; its descriptor is open."""
        mode = node.mode & 0o7777
        if self.ownership is Ownership.NATIVE:
            try:
                os.fchown(descriptor, node.uid, node.gid)
            except OSError as error:
                self._lost_owner(error, descriptor, node, path)
                mode = _without_privileges(node)
        else:
            self._override(descriptor, node, path)
            mode = _without_privileges(node)
            mode |= 0o700 if node.children is not None else 0o600  # what we made we must be able to read
        for name, value in node.xattrs.items():
            self._attribute(partial(attributes.set_open, descriptor), name, value, path)
        os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(node.mtime_ns, node.mtime_ns))

    def _dress_name(self, at: int, name: bytes, node: Node, path: bytes) -> None:
        """Likewise what cannot be opened: a symlink, fifo or device."""
        if self.ownership is Ownership.NATIVE:
            try:
                os.chown(name, node.uid, node.gid, dir_fd=at, follow_symlinks=False)
            except OSError as error:
                self._lost_owner(error, -1, node, path)
        if node.xattrs:
            for attribute, value in node.xattrs.items():
                self._attribute(partial(attributes.set_named, at, name), attribute, value, path)
        if not stat.S_ISLNK(node.mode):
            os.chmod(name, node.mode & 0o7777, dir_fd=at)
        os.utime(name, ns=(node.mtime_ns, node.mtime_ns), dir_fd=at, follow_symlinks=False)

    def _device(self, at: int, name: bytes, node: Node, path: bytes) -> bool:
        """Make a device node; whether that was possible."""
        if self.ownership is Ownership.NATIVE:
            try:
                os.mknod(name, stat.S_IFMT(node.mode) | 0o600, os.makedev(*node.device), dir_fd=at)
            except PermissionError:
                pass
            else:
                return True
        self.notes.add("device nodes are left out, since only root can make them", path)
        return False

    def _lost_owner(self, error: OSError, descriptor: int, node: Node, path: bytes) -> None:
        """An owner that cannot be given: this user namespace does not have it, or we are a root without the right."""
        if error.errno not in _NOT_ALLOWED:
            raise error
        why = (
            "does not exist in this user namespace"
            if error.errno == errno.EINVAL
            else "may not be given by us"
        )
        self.notes.add(f"its owner {why}, and was not kept", path)
        if descriptor >= 0:
            self._override(descriptor, node, path)

    def _override(self, descriptor: int, node: Node, path: bytes) -> None:
        value = b"%d:%d:0%o" % (node.uid, node.gid, node.mode & 0o7777)
        try:
            attributes.set_open(descriptor, OVERRIDE, value)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise
            self.notes.add("its owner was not kept: this file system takes no user.* attributes", path)

    def _attribute(
        self, give: Callable[[bytes, bytes], None], name: bytes, value: bytes, path: bytes
    ) -> None:
        if name == _OVERRIDE and self.ownership is Ownership.OVERRIDE_STAT:
            self.notes.add(f"the image's own {OVERRIDE} was left out", path)
            return
        try:
            give(name, value)
        except OSError as error:
            if error.errno in _XATTR_TOO_LARGE:
                raise Unsupported(
                    f"{show(path)}: extended attribute {show(name)} of {len(value)} bytes does not fit"
                    " (the file system bounds them, or is full)"
                ) from error
            if error.errno not in _NO_XATTR:
                raise
            self.notes.add(
                f"extended attribute {show(name)} cannot be set here ({error.strerror}), left out", path
            )


def _without_privileges(node: Node) -> int:
    """The mode of something that another owns than the image says: it may not make its user that owner.

    Root's programs keep their bits: where a VMM shows its user's files as root's, su must work.
    """
    mode = node.mode & 0o7777
    if node.children is None:
        mode &= ~(stat.S_ISUID if node.uid else 0) & ~(stat.S_ISGID if node.gid else 0)
    return mode


@frozen(eq=False)
class Maker:
    """Makes files complete, with their content."""

    keep: Keep
    content: Content

    def make(self, at: int, name: bytes, node: Node, path: bytes, source: tuple[int, bytes]) -> bool:
        """Make anything but a folder; whether it could be made.

        Args:
            at: descriptor of the folder.
            name: in it; nothing has it yet.
            node: what to make.
            path: in the image, for messages.
            source: where the content has it: descriptor of the folder there or -1, and name.

        Raises:
            Unsupported: this file system cannot hold it; named.
            Corrupt: its bytes are not there.
            StorageError: the host's disk refused.
        """
        try:
            made = self.keep.make(at, name, node, path)
            if made >= 0:
                try:
                    self.content.fill(node, made, *source)
                    self.keep.dress(made, node, path)
                finally:
                    os.close(made)
        except Corrupt as error:
            raise Corrupt(f"{show(path)}: {error.brief}") from error
        except OSError as error:
            raise refused(path, error) from error
        return made != LEFT_OUT


def refused(path: bytes, error: OSError) -> Unsupported | StorageError:
    """What it means that the operating system refused a file."""
    impossible = _IMPOSSIBLE.get(error.errno or 0)
    if impossible:
        return Unsupported(f"{show(path)}: {impossible}")
    return StorageError(f"{show(path)}: {error.strerror or error}")
