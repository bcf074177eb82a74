"""Every input that fuzzing has kept, once: what took a branch, or was a finding, is no finding now. ``make fuzz`` looks for more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from monocore_layer_erofs import build

from scripts.fuzz import agent, corpus
from scripts.fuzz.target import Target
from scripts.fuzz.targets import NAMES, load


@pytest.mark.parametrize("name", NAMES)
def test_what_was_kept_is_read_or_refused(name: str) -> None:
    target, kept = load(name), corpus.read(name)
    assert kept, "there is a corpus"
    for data in [*target.seeds(), *kept]:
        target.run(data)


def test_the_agent_survives_what_was_kept(tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc (apt-get install gcc libc6-dev)")
    program = tmp_path / "replay"
    agent.build_replay(gcc, program)
    kept = corpus.read(agent.NAME)
    assert kept
    result = agent.replay(program, [*agent.seeds(), *kept])
    assert (result.returncode, result.stderr.decode(errors="replace")) == (0, "")


def test_the_judge_of_merged_roots_sees_a_file_that_lies_beyond_its_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts = build._starts  # pyright: ignore[reportPrivateUsage]

    def shifted(sizes: Mapping[int, int], first: int) -> tuple[dict[int, int], int]:
        return starts(sizes, first - 1)

    monkeypatch.setattr(build, "_starts", shifted)
    target = load("erofs")
    with pytest.raises(AssertionError):
        _run_all(target)


def _run_all(target: Target) -> None:
    for data in target.seeds():
        target.run(data)
