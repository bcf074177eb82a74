"""libkrun through cffi in ABI mode: functions are bound one by one, those that the library has."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

import cffi

from monocore_vmm_libkrun.signatures import SIGNATURES, declaration


class _Ffi(Protocol):
    """What is used of :class:`cffi.FFI`, which has no types of its own."""

    RTLD_LAZY: int
    RTLD_GLOBAL: int
    NULL: object

    def cdef(self, source: str) -> None: ...
    def dlopen(self, name: str, flags: int) -> object: ...
    def new(self, kind: str, value: object) -> object: ...


class CallFailed(Exception):
    """A call said no; ``number`` is the errno."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, number)
        self.name = name
        self.number = number

    def __str__(self) -> str:
        word = errno.errorcode.get(self.number, str(self.number))
        return f"{self.name}: {os.strerror(self.number)} ({word})"


class Krun:
    """The loaded library.

    Args:
        krun: libkrun; bound lazily, since some builds leave symbols of graphics libraries open.
        firmware: libkrunfw, loaded before, for all to see.

    Raises:
        OSError: a library cannot be loaded.
    """

    def __init__(self, krun: Path, firmware: Path | None) -> None:
        self._ffi = cast("_Ffi", cffi.FFI())
        self._ffi.cdef("\n".join(map(declaration, SIGNATURES)))
        if firmware is not None:
            self._firmware = self._ffi.dlopen(str(firmware), self._ffi.RTLD_LAZY | self._ffi.RTLD_GLOBAL)
        self._library = self._ffi.dlopen(str(krun), self._ffi.RTLD_LAZY)
        self.symbols = frozenset(name for name in SIGNATURES if self._find(name) is not None)

    def call(self, name: str, context: int, arguments: Sequence[object]) -> int:
        """Call a function; gives what it gives, which is not negative.

        Raises:
            CallFailed: the library says no, or has no such function.
            TypeError, ValueError, OverflowError: an argument is not of its kind.
        """
        function = self._find(name) if name in SIGNATURES else None
        if function is None:
            raise CallFailed(name, errno.ENOSYS)
        given = iter(arguments)
        kept: list[object] = []  # memory that C looks at during the call
        words = [
            context if kind == "ctx" else self._word(kind, next(given), kept) for kind in SIGNATURES[name]
        ]
        if next(given, self) is not self:
            raise ValueError(f"{name}: too many arguments")
        result = function(*words)
        if result < 0:
            raise CallFailed(name, -result)
        return result

    def _find(self, name: str) -> Callable[..., int] | None:
        try:
            return cast("Callable[..., int]", getattr(self._library, name))
        except AttributeError:
            return None

    def _word(self, kind: str, value: object, kept: list[object]) -> object:
        if kind == "str?" and value is None:
            return self._ffi.NULL
        if kind in ("str", "str?"):
            return str(value).encode()
        if kind == "mac":
            return bytes.fromhex(str(value).replace(":", ""))
        if kind == "strs":
            texts = [self._ffi.new("char[]", str(text).encode()) for text in cast("Sequence[object]", value)]
            array = self._ffi.new("char *[]", [*texts, self._ffi.NULL])
            kept += [*texts, array]
            return array
        return value
