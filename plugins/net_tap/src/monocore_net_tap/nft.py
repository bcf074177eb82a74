"""nftables: transactions given as text, through libnftables where it is installed, else through the program ``nft``.

The library is six times faster than the program. A context belongs to the network namespace of the thread that makes it, and to one thread at a
time. See libnftables(3), nft(8).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Protocol, cast

from monocore_core.errors import MachineError, Unsupported

LIBRARY = "libnftables.so.1"
_PROGRAM = "nft"
_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
_WITHIN = 20.0
_DECLARATIONS = """
struct nft_ctx *nft_ctx_new(uint32_t flags);
void nft_ctx_free(struct nft_ctx *ctx);
int nft_ctx_buffer_output(struct nft_ctx *ctx);
int nft_ctx_buffer_error(struct nft_ctx *ctx);
const char *nft_ctx_get_output_buffer(struct nft_ctx *ctx);
const char *nft_ctx_get_error_buffer(struct nft_ctx *ctx);
void nft_ctx_output_set_flags(struct nft_ctx *ctx, unsigned int flags);
int nft_run_cmd_from_buffer(struct nft_ctx *ctx, const char *buf);
"""


class _Runner(Protocol):
    """Runs a text; gives the status, the output and the errors."""

    def run(self, text: str, *, listing: bool) -> tuple[int, str, str]: ...
    def close(self) -> None: ...


class Nft:
    """The packet filter of one network namespace."""

    def __init__(self) -> None:
        self._runner = _runner()

    def run(self, text: str) -> None:
        """Carry out a text as one transaction: all of it or nothing.

        Raises:
            MachineError: nft refuses, with its words.
        """
        status, _, error = self._runner.run(text, listing=False)
        if status:
            raise MachineError(f"the packet filter refuses: {_brief(error)}")

    def listing(self, command: str) -> list[Mapping[str, object]]:
        """What a ``list`` or ``get`` command tells; see libnftables-json(5).

        Raises:
            MachineError: there is no such thing.
        """
        status, output, error = self._runner.run(command, listing=True)
        if status:
            raise MachineError(f"the packet filter refuses: {_brief(error)}")
        found = cast("dict[str, list[Mapping[str, object]]]", json.loads(output or "{}"))
        return found.get("nftables", [])

    def text(self, command: str) -> str:
        """What a command tells people; ``get element`` of nft 1.0.6 knows no other way.

        Raises:
            MachineError: there is no such thing.
        """
        status, output, error = self._runner.run(command, listing=False)
        if status:
            raise MachineError(f"the packet filter refuses: {_brief(error)}")
        return output

    def has_table(self, family: str, name: str) -> bool:
        """Whether there is such a table."""
        found = self.listing(f"list tables {family}")
        return any(cast("Mapping[str, object]", each.get("table", {})).get("name") == name for each in found)

    def close(self) -> None:
        """Close the context; a repeat does nothing."""
        self._runner.close()


class _Ffi(Protocol):
    """What is used of :class:`cffi.FFI`, which has no types of its own."""

    NULL: object

    def cdef(self, source: str) -> None: ...
    def dlopen(self, name: str) -> _Nftables: ...
    def string(self, text: object) -> bytes: ...


class _Nftables(Protocol):
    """The functions of the library."""

    def nft_ctx_new(self, flags: int) -> object: ...
    def nft_ctx_free(self, context: object) -> None: ...
    def nft_ctx_buffer_output(self, context: object) -> int: ...
    def nft_ctx_buffer_error(self, context: object) -> int: ...
    def nft_ctx_get_output_buffer(self, context: object) -> object: ...
    def nft_ctx_get_error_buffer(self, context: object) -> object: ...
    def nft_ctx_output_set_flags(self, context: object, flags: int) -> None: ...
    def nft_run_cmd_from_buffer(self, context: object, text: bytes) -> int: ...


class _Library:
    def __init__(self) -> None:
        self._ffi = _ffi()
        self._ffi.cdef(_DECLARATIONS)
        self._library = self._ffi.dlopen(LIBRARY)
        self._context = self._library.nft_ctx_new(0)
        if self._context == self._ffi.NULL:
            raise MachineError(f"{LIBRARY} gives no context")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, text: str, *, listing: bool) -> tuple[int, str, str]:
        self._library.nft_ctx_output_set_flags(self._context, _JSON if listing else 0)
        status = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        output = self._ffi.string(self._library.nft_ctx_get_output_buffer(self._context))
        error = self._ffi.string(self._library.nft_ctx_get_error_buffer(self._context))
        return status, output.decode(errors="replace"), error.decode(errors="replace")

    def close(self) -> None:
        if self._context != self._ffi.NULL:
            self._library.nft_ctx_free(self._context)
            self._context = self._ffi.NULL


class _Program:
    def __init__(self, path: str) -> None:
        self._path = path

    def run(self, text: str, *, listing: bool) -> tuple[int, str, str]:
        words = [self._path, *(["-j"] if listing else []), "-f", "-"]
        try:
            done = subprocess.run(
                words, input=text, capture_output=True, text=True, timeout=_WITHIN, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MachineError(f"{self._path} could not be run: {error}") from error
        return done.returncode, done.stdout, done.stderr

    def close(self) -> None:
        pass


def program() -> str | None:
    """Path of nft(8), which ordinary users do not have on their PATH."""
    return shutil.which(_PROGRAM) or shutil.which(_PROGRAM, path="/usr/sbin:/sbin")


def available() -> bool:
    """Whether there is a way to nftables. The library is tried only where the program is missing: that takes 65 ms."""
    if program() is not None:
        return True
    try:
        _ffi().dlopen(LIBRARY)
    except OSError:
        return False
    return True


def _ffi() -> _Ffi:
    import cffi  # noqa: PLC0415 - with its parser it takes 65 ms, of every command of monocore

    return cast("_Ffi", cffi.FFI())


def _runner() -> _Runner:
    try:
        return _Library()
    except OSError:
        path = program()
    if path is None:
        raise Unsupported("nft is not installed", hint="apt-get install nftables")
    return _Program(path)


def _brief(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return "; ".join(lines[:2])[:400] or "no reason is given"
