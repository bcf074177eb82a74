"""The seccomp compiler against an interpreter of classic BPF."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.jail.seccomp import Calls, Condition, compile_filter
from monocore_core.jail.syscalls import NUMBERS

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
names = st.sampled_from(sorted(NUMBERS))


def run(program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What a kernel would answer."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    for _ in range(len(steps)):
        code, if_true, if_false, value = steps[at]
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x06:
                return int(value)
            case 0x15 | 0x35 | 0x25:
                true = {
                    0x15: accumulator == value,
                    0x35: accumulator >= value,
                    0x25: accumulator > value,
                }[code]
                at += if_true if true else if_false
            case _:
                pytest.fail(f"unknown code {code:#x}")
    pytest.fail("the program does not end")


@given(
    allowed=st.frozensets(names),
    failing=st.dictionaries(names, st.integers(1, 133), max_size=5),
    machine=st.sampled_from(sorted(ARCHITECTURES)),
    number=st.integers(0, 600),
)
def test_every_number_is_decided_as_the_list_says(
    allowed: frozenset[str], failing: dict[str, int], machine: str, number: int
) -> None:
    program = compile_filter(Calls(allowed, failing=failing), machine)
    assert program is not None
    architecture, column = ARCHITECTURES[machine]
    named = {numbers[column]: name for name, numbers in NUMBERS.items() if numbers[column] is not None}
    name = named.get(number, "")
    wanted = ERRNO | failing[name] if name in failing else ALLOW if name in allowed else KILL
    assert run(program, architecture, number) == wanted
    assert run(program, architecture ^ 1, number) == KILL, "another architecture's numbers mean other calls"
    if machine == "x86_64":
        assert run(program, architecture, number | 0x40000000) == KILL, "x32's have the same architecture"


def test_a_condition_looks_at_the_argument() -> None:
    threads = Condition("clone", 0, 0x10000, (0x10000,))
    families = Condition("socket", 0, 0xFFFFFFFF, (2, 10))
    program = compile_filter(Calls(frozenset({"read", "clone"}), (threads, families)), "x86_64")
    assert program is not None
    x86 = ARCHITECTURES["x86_64"][0]
    refused = ERRNO | errno.EPERM
    assert run(program, x86, 56, (0x10000 | 0x100,)) == ALLOW
    assert run(program, x86, 56, (17,)) == refused
    assert [run(program, x86, 41, (family,)) for family in (1, 2, 10, 16, 40)] == [
        refused,
        ALLOW,
        ALLOW,
        refused,
        refused,
    ]
    assert run(program, x86, 0) == ALLOW
    assert run(program, x86, 1) == KILL


def test_more_calls_can_be_added() -> None:
    base = Calls(frozenset({"read"}), failing={"socket": 1, "unlink": 13})
    more = base.and_also({"bind"}, (Condition("socket", 0, 0xFF, (2,)),))
    assert more.allowed == {"read", "bind"}
    assert dict(more.failing) == {"unlink": 13}


def test_a_machine_whose_numbers_are_unknown_has_no_filter() -> None:
    assert compile_filter(Calls(frozenset({"read"})), "riscv64") is None
    with pytest.raises(KeyError):
        compile_filter(Calls(frozenset({"no_such_call"})), "x86_64")


def test_numbers_are_those_of_well_known_calls() -> None:
    assert NUMBERS["read"] == (0, 63)
    assert NUMBERS["execve"] == (59, 221)
    assert NUMBERS["clone3"] == (435, 435)
    assert NUMBERS["open"] == (2, None)
    for column in (0, 1):
        numbers = [pair[column] for pair in NUMBERS.values() if pair[column] is not None]
        assert len(numbers) == len(set(numbers))
