import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.cli import parts, values
from monocore_core.errors import InvalidInput, NotFound
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import PullPolicy

UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("512m", 512 * 2**20),
        ("512M", 512 * 2**20),
        ("512mb", 512 * 2**20),
        ("512MB", 512 * 2**20),
        ("512MiB", 512 * 2**20),
        ("512 MiB", 512 * 2**20),
        ("1g", 2**30),
        ("1.5g", 3 * 2**29),
        ("0.5k", 512),
        ("64b", 64),
        ("3T", 3 * 2**40),
        (" 2g ", 2**31),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert values.parse_size(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "-1m",
        "1x",
        "1mm",
        "1 m m",
        "0",
        "0g",
        "1e3",
        "9" * 30,
        "9999999p",
        "1.2.3g",
        "٣m",
        "1m\n2",
        "nan",
        "0x10",
    ],
)
def test_sizes_that_are_refused_show_a_right_one(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        values.parse_size(text)
    assert "512m" in str(caught.value.hint)
    assert len(caught.value.brief) < 120


@given(st.integers(1, 2**40), st.sampled_from(sorted(UNITS)), st.sampled_from(["", "b", "ib", "B", "iB"]))
@settings(max_examples=200)
def test_sizes_scale_with_their_unit(number: int, unit: str, suffix: str) -> None:
    expected = number << UNITS[unit]
    text = f"{number}{unit}{suffix}"
    if expected > values.MAX_BYTES:
        with pytest.raises(InvalidInput):
            values.parse_size(text)
    else:
        assert values.parse_size(text) == expected


@given(st.text(max_size=30))
@settings(max_examples=300)
def test_parsers_raise_nothing_but_refusals(text: str) -> None:
    parsers = (
        values.parse_size,
        values.parse_duration,
        values.parse_vcpus,
        parts.parse_tmpfs,
        parts.parse_ulimit,
        parts.parse_platform,
        values.parse_setting,
        values.parse_workdir,
        values.parse_pull,
    )
    for parse in parsers:
        with contextlib.suppress(InvalidInput):
            parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10),
        ("1.5", 1.5),
        ("90s", 90),
        ("500ms", 0.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1H", 3600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "s", "1x", "1 s", "inf", "1m30", "5 m", "nan"])
def test_durations_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="duration"):
        values.parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    assert values.parse_duration(f"{hours}h{minutes}m{seconds}s") == pytest.approx(total)


def test_cpus_are_whole() -> None:
    assert [values.parse_vcpus(text) for text in ("1", "2", "16", "2.0")] == [1, 2, 16, 2]
    with pytest.raises(InvalidInput, match="fraction") as caught:
        values.parse_vcpus("1.5")
    assert "whole" in str(caught.value.hint)
    for text in ("", "two", "-1", "1e2"):
        with pytest.raises(InvalidInput, match="not a number"):
            values.parse_vcpus(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/tmp", TmpfsMount("/tmp")),
        ("/run:size=64m", TmpfsMount("/run", 64 * 2**20)),
        ("/run:rw,size=1k", TmpfsMount("/run", 1024)),
        ("/run:", TmpfsMount("/run")),
    ],
)
def test_tmpfs(text: str, mount: TmpfsMount) -> None:
    assert parts.parse_tmpfs(text) == mount


@pytest.mark.parametrize(
    "text", ["tmp", "/", "//", "", "/a/../b", "/tmp:noexec", "/tmp:size=", "/tmp:size=x"]
)
def test_tmpfs_that_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parts.parse_tmpfs(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("nofile=1024", Rlimit("nofile", 1024, 1024)),
        ("nofile=1024:4096", Rlimit("nofile", 1024, 4096)),
        ("core=-1", Rlimit("core", -1, -1)),
        ("core=0:unlimited", Rlimit("core", 0, -1)),
    ],
)
def test_ulimits(text: str, limit: Rlimit) -> None:
    assert parts.parse_ulimit(text) == limit


@pytest.mark.parametrize(
    "text", ["x", "nofile", "nofile=", "files=1", "nofile=2:1", "nofile=-1:5", "nofile=1:2:3", "nofile=-5"]
)
def test_ulimits_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parts.parse_ulimit(text)


def test_platform_and_pull_policy() -> None:
    assert parts.parse_platform("linux/arm64/v8") == Platform("linux", "arm64")
    assert parts.parse_platform("x86_64") == Platform("linux", "amd64")
    assert values.parse_pull("never") == PullPolicy.NEVER
    with pytest.raises(InvalidInput) as caught:
        values.parse_pull("sometimes")
    assert caught.value.hint == "one of always, missing, never"


def test_settings_keep_everything_after_the_first_equals_sign() -> None:
    assert values.parse_setting("plugins.a.b=c=d") == ("plugins.a.b", "c=d")
    for text in ("plugins.a.b", "=x", " =x"):
        with pytest.raises(InvalidInput, match="KEY=VALUE"):
            values.parse_setting(text)


def test_a_variable_without_value_is_passed_on_when_it_is_set_here() -> None:
    assert values.expand_env("A=1", {}) == "A=1"
    assert values.expand_env("A=", {"A": "x"}) == "A="
    assert values.expand_env("A", {"A": "x"}) == "A=x"
    assert values.expand_env("A", {}) is None
    for text in ("=x", "", "A=\0"):
        with pytest.raises(InvalidInput, match="variable"):
            values.expand_env(text, {})


def test_env_file_as_docker_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbf# comment\n\nA=1\n  B=two words \r\nHERE\nGONE\nC='quoted'\nD=\xff\n")
    found = values.read_env_file(str(file), {"HERE": "yes"})
    assert found == ("A=1", "B=two words ", "HERE=yes", "C='quoted'", "D=\udcff")


@pytest.mark.parametrize("line", [b"=x", b"A B=1", b"A =1"])
def test_env_file_names_the_wrong_line(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"OK=1\n" + line + b"\n")
    with pytest.raises(InvalidInput, match="line 2"):
        values.read_env_file(str(file), {})


def test_env_file_is_bounded_and_must_exist(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"#" * (values.MAX_ENV_FILE + 1))
    with pytest.raises(InvalidInput, match="larger"):
        values.read_env_file(str(large), {})
    with pytest.raises(NotFound, match="does not exist"):
        values.read_env_file(str(tmp_path / "nix"), {})
    with pytest.raises(InvalidInput, match="cannot be read"):
        values.read_env_file(str(tmp_path), {})
