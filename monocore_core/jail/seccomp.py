"""Lists of system calls as data, and the program of classic BPF that enforces one. Pure.

See seccomp(2), ``linux/filter.h``, ``linux/seccomp.h``. The kernel remembers which calls a program always allows, so that those cost nothing.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from monocore_core.jail.syscalls import NUMBERS

#: ``AUDIT_ARCH_*`` of ``linux/audit.h``, and the column of :data:`NUMBERS`, by what ``uname`` calls the machine.
_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
#: Numbers from here on are x32's, which has the same architecture word.
_X32: Final = 0x40000000
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL: Final = 0x80000000
#: Of classic BPF: load a word of ``struct seccomp_data``, mask it, jump if equal, if greater or equal, if greater, return.
_LOAD, _AND, _EQUAL, _AT_LEAST, _ABOVE, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x25, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


@frozen
class Condition:
    """A call that is allowed with some arguments only, and fails with ``EPERM`` otherwise.

    Attributes:
        call: its name.
        argument: from 0.
        mask: of the argument's lower 32 bits, which are looked at.
        values: of which the masked bits must be one.
    """

    call: str
    argument: int
    mask: int
    values: tuple[int, ...]


@frozen
class Calls:
    """What a program may ask of the kernel. Everything else kills it.

    Attributes:
        allowed: by name.
        conditions: allowed sometimes.
        failing: by name, the error with which they fail: what a library tries first and does without.
    """

    allowed: frozenset[str]
    conditions: tuple[Condition, ...] = ()
    failing: Mapping[str, int] = field(factory=dict[str, int])

    def and_also(self, names: Iterable[str], conditions: tuple[Condition, ...] = ()) -> Calls:
        """With more."""
        more = frozenset(names)
        known = {condition.call for condition in conditions} | more
        failing = {name: number for name, number in self.failing.items() if name not in known}
        return Calls(self.allowed | more, (*self.conditions, *conditions), failing)


def compile_filter(calls: Calls, machine: str) -> bytes | None:
    """The program, as ``struct sock_filter`` one after the other; None for a machine whose numbers are not known.

    Raises:
        KeyError: a call whose numbers are not known.
    """
    if machine not in _ARCHITECTURES:
        return None
    architecture, column = _ARCHITECTURES[machine]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    for condition in calls.conditions:
        if (number := NUMBERS[condition.call][column]) is not None:
            steps += _conditional(number, condition)
    for name, error in sorted(calls.failing.items()):
        if (number := NUMBERS[name][column]) is not None:
            steps += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | error)]
    conditional = {condition.call for condition in calls.conditions}
    numbers = (NUMBERS[name][column] for name in calls.allowed - conditional - calls.failing.keys())
    for first, last in _ranges(number for number in numbers if number is not None):
        steps += [_step(_AT_LEAST, first, 0, 2), _step(_ABOVE, last, 1, 0), _step(_RETURN, _ALLOW)]
    return b"".join([*steps, _step(_RETURN, _KILL)])


def _conditional(number: int, condition: Condition) -> list[bytes]:
    """Decides about one call for good, or is jumped over. Both architectures are little-endian: the lower half comes first."""
    decided = [
        _step(_LOAD, _FIRST_ARGUMENT + 8 * condition.argument),
        _step(_AND, condition.mask),
    ]
    for value in condition.values:
        decided += [_step(_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW)]
    decided.append(_step(_RETURN, _ERRNO | errno.EPERM))
    return [_step(_EQUAL, number, 0, len(decided)), *decided]


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbours together."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
