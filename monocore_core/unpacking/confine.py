"""The jail of what decompresses: Python's own files, a few modules, pipes and a piece of memory. Looks at a few names; changes nothing.

The list of calls was made by tracing Python 3.11, was run with 3.12 and 3.13 too, and holds what other C libraries use instead.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import resource
import stat
import sys
import sysconfig
from pathlib import Path
from typing import Final

from attrs import frozen

from monocore_core.jail import Calls, Identity, Jail, Namespaces, libraries, outermost
from monocore_core.jail.description import default_limits

_NAMES: Final = """
access arch_prctl brk clock_getres clock_gettime close dup execve exit exit_group faccessat faccessat2 fcntl fstat futex getcwd getdents64
getegid geteuid getgid getpid getppid getrandom getresgid getresuid getrlimit gettid getuid ioctl lseek lstat madvise membarrier mmap mprotect mremap
munmap newfstatat open openat poll ppoll pread64 prlimit64 read readlink readlinkat readv restart_syscall rseq rt_sigaction rt_sigprocmask
rt_sigreturn sched_getaffinity sched_yield set_robust_list set_tid_address sigaltstack stat statx sysinfo time uname write writev
"""
CALLS: Final = Calls(
    allowed=frozenset(_NAMES.split()),
    failing={"clone3": errno.ENOSYS, "clone": errno.EPERM, "socket": errno.EPERM},
)
#: Bytes of memory: a window of zstd has 128 MiB at most.
_MEMORY: Final = 1 << 30
#: What it imports beside the standard library: packages, and something that is in each.
_MODULES: Final = (("monocore_core", "unpacking"), ("isal", "__init__.py"), ("backports", "zstd"))
_NAMESPACES: Final = (
    Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.IPC | Namespaces.UTS | Namespaces.NETWORK
)


@frozen
class Program:
    """A Python, and where what it imports is.

    Attributes:
        binary: resolved, and not of a virtual environment.
        standard: folders of the standard library.
        packages: folders of other packages, by name.
    """

    binary: Path
    standard: tuple[Path, ...]
    packages: tuple[tuple[str, Path], ...]

    def words(self, pipes: tuple[int, ...], memory: int, *, archives: bool = False) -> tuple[str, ...]:
        """The command line of a worker for these descriptors, for layers or for whole archives. No folder of packages is looked through, since none is shown. Pure."""
        found = tuple((name, os.fspath(path)) for name, path in self.packages)
        code = (
            "import sys\n"
            f"for name, path in {found!r}:\n"
            "    module = sys.modules[name] = type(sys)(name)\n"
            "    module.__path__ = [path]\n"
            "from monocore_core.unpacking.worker import main\n"
            "main()"
        )
        words = (os.fspath(self.binary), "-I", "-S", "-B", "-c", code, *map(str, (*pipes, memory)))
        return (*words, "archives") if archives else words

    def readable(self) -> bool:
        """Whether another user may read all of it, as far as a look at its beginnings tells."""
        files = [self.binary, *(folder / "os.py" for folder in self.standard)]
        folders = [*self.standard, *(path for _, path in self.packages)]
        needed = [(path, stat.S_IROTH) for path in files if path.exists()]
        needed += [(path, stat.S_IROTH | stat.S_IXOTH) for path in folders]
        needed += [(path, stat.S_IROTH) for folder in folders for path in folder.glob("*.so")]
        try:
            return all(path.stat().st_mode & bits == bits for path, bits in needed)
        except OSError:
            return False


def program() -> Program:
    """The Python that runs us."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    paths = sysconfig.get_paths(vars={"installed_base": sys.base_prefix, "platbase": sys.base_exec_prefix})
    standard = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")}
    found: list[tuple[str, Path]] = []
    for name, part in _MODULES:
        spec = importlib.util.find_spec(name)
        places = map(Path, spec.submodule_search_locations or ()) if spec is not None else ()
        found += [(name, place.resolve()) for place in places if (place / part).exists()][:1]
    return Program(
        Path(base).resolve(), tuple(sorted(path for path in standard if path.is_dir())), tuple(found)
    )


def jail_of(what: Program, stage: Path, identity: Identity | None) -> Jail:
    """The jail of a worker.

    Args:
        what: it runs.
        stage: a folder that nobody needs to see in it.
        identity: its own; None: a user namespace with no id but ours.
    """
    shown, links = libraries(what.binary)
    packages = tuple(path for _, path in what.packages)
    return Jail(
        namespaces=_NAMESPACES if identity is not None else _NAMESPACES | Namespaces.USER,
        stage=stage,
        calls=CALLS,
        identity=identity,
        shown=outermost((*shown, what.binary, *what.standard, *packages)),
        links=links,
        limits={
            **default_limits(),
            resource.RLIMIT_AS: _MEMORY,
            resource.RLIMIT_FSIZE: 0,
        },
    )
