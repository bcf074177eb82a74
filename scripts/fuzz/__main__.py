"""``make fuzz``: every parser of hostile bytes, each for a while, two at once on two cores.

Exit status 1 when something was found; the input is kept, and the command that shows it again is printed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from attrs import frozen

from scripts.fuzz import agent, corpus
from scripts.fuzz.coverage import Covered, of_agent, of_python
from scripts.fuzz.shrink import shrunk
from scripts.fuzz.targets import NAMES, load

#: Seconds beyond its time that a fuzzer may take: it begins with what is known already.
_EXTRA: Final = 600
#: Branches of each parser that its corpus has to take, percent.
_WANTED: Final = 90.0
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)|Done (\d+) runs")


@frozen
class Outcome:
    """Of fuzzing one target."""

    name: str
    runs: int
    seconds: float
    problem: str = ""


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help=f"of {', '.join((*NAMES, agent.NAME))}; all when left out",
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at once")
    parser.add_argument(
        "--coverage", action="store_true", help="do not fuzz; say how many branches the kept corpora take"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="do not fuzz; take what earlier runs found into the kept corpora, made small",
    )
    words = parser.parse_args()
    names: list[str] = words.targets or [*NAMES, agent.NAME]
    if unknown := set(names) - {*NAMES, agent.NAME}:
        parser.error(f"there is no target {min(unknown)!r}")
    if words.coverage:
        return _coverage(names)
    if words.keep:
        return _keep(names)
    corpus.FINDINGS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max(1, words.jobs)) as pool:
        outcomes = list(pool.map(partial(_told, words.seconds), names))
    return int(any(outcome.problem for outcome in outcomes))


def _told(seconds: int, name: str) -> Outcome:
    outcome = _fuzz(name, seconds)
    verdict = "clean" if not outcome.problem else "FOUND"
    print(f"{outcome.name:10} {outcome.runs:10,} inputs in {outcome.seconds:4.0f} s  {verdict}", flush=True)
    if outcome.problem:
        print(outcome.problem, flush=True)
    return outcome


def _fuzz(name: str, seconds: int) -> Outcome:
    began = time.monotonic()
    if name == agent.NAME:
        argv: Sequence[str] | str = _agent_command(seconds)
    elif find_spec("atheris") is None:
        argv = "needs atheris: scripts/setup --fuzz installs it"
    else:
        folder = corpus.spread(name, [*load(name).seeds(), *corpus.read(name)])
        argv = [
            sys.executable,
            "-m",
            "scripts.fuzz.one",
            name,
            os.fspath(folder),
            str(seconds),
            os.fspath(corpus.FINDINGS),
        ]
    if isinstance(argv, str):
        return Outcome(name, 0, 0.0, f"  {argv}")
    before = _findings(name)
    log = corpus.WORK / f"{name}.log"
    with log.open("wb") as out:
        try:
            status = subprocess.run(
                argv, check=False, stdout=out, stderr=out, timeout=seconds + _EXTRA, cwd=corpus.ROOT
            ).returncode
        except subprocess.TimeoutExpired:
            return Outcome(name, 0, time.monotonic() - began, f"  it did not end; see {log}")
    text = log.read_text(errors="replace")
    runs = max((int(match[1] or match[2]) for match in _RUNS.finditer(text)), default=0)
    new = sorted(_findings(name) - before)
    problem = "" if status == 0 and not new and runs else _explained(name, text, new)
    return Outcome(name, runs, time.monotonic() - began, problem)


def _agent_command(seconds: int) -> list[str] | str:
    compiler = agent.clang()
    if compiler is None:
        return "needs clang with libFuzzer: scripts/setup --fuzz installs it"
    folder = corpus.spread(agent.NAME, [*agent.seeds(), *corpus.read(agent.NAME)])
    program = corpus.WORK / "agent-fuzzer" / "fuzzer"
    agent.build_fuzzer(compiler, program)
    prefix = f"-artifact_prefix={corpus.FINDINGS}/{agent.NAME}-"
    limits = [f"-max_total_time={seconds}", f"-max_len={agent.LONGEST}", "-timeout=25", "-rss_limit_mb=2048"]
    return [os.fspath(program), *limits, prefix, "-print_final_stats=1", os.fspath(folder)]


def _findings(name: str) -> set[Path]:
    return set(corpus.FINDINGS.glob(f"{name}-*"))


def _explained(name: str, text: str, new: Sequence[Path]) -> str:
    marks = ("Uncaught Python exception", "ERROR: ", "runtime error", "Traceback")
    lines = text.splitlines()
    begin = next(
        (number for number, line in enumerate(lines) if any(mark in line for mark in marks)),
        max(0, len(lines) - 15),
    )
    shown = [f"  {line}" for line in lines[begin : begin + 25]]
    again = (
        f".cache/fuzz/agent-fuzzer/fuzzer {new[0]}"
        if new and name == agent.NAME
        else f"python -m scripts.fuzz.replay {name} {new[0]}"
        if new
        else ""
    )
    return "\n".join(
        [*shown, f"  see it again: {again}" if again else f"  all of it: {corpus.WORK / name}.log"]
    )


def _coverage(names: Sequence[str]) -> int:
    low = False
    print(f"{'target':10} {'branches':>12} {'':>6}  file")
    for name in names:
        files = list(of_agent() if name == agent.NAME else of_python(load(name)))
        for found in files:
            _print("", found, "" if found.percent >= _WANTED else f"; not taken: {found.missing}")
        whole = Covered("in all", sum(found.taken for found in files), sum(found.all for found in files))
        _print(name, whole, "" if whole.percent >= _WANTED else f", below {_WANTED:.0f} %")
        low = low or whole.percent < _WANTED
    return int(low)


def _print(name: str, found: Covered, remark: str) -> None:
    figures = f"{found.taken:5} of {found.all:4} {found.percent:5.1f} %"
    print(f"{name:10} {figures}  {found.name}{remark}", flush=True)


def _keep(names: Sequence[str]) -> int:
    for name in names:
        if name == agent.NAME:
            kept = _merged_agent()
        else:
            target = load(name)
            inputs = [*target.seeds(), *corpus.read(name), *corpus.found(corpus.WORK / name)]
            kept = shrunk(target, (one for one in inputs if len(one) <= target.longest))
        corpus.write(name, kept)
        print(f"{name:10} {len(kept):5} inputs, {sum(map(len, kept)):,} bytes", flush=True)
    return 0


def _merged_agent() -> list[bytes]:
    """By libFuzzer, by edges alone: how often one is taken makes no difference to what is kept."""
    program, into = corpus.WORK / "agent-fuzzer" / "fuzzer", corpus.WORK / "agent-merged"
    folder = corpus.spread(agent.NAME, [*agent.seeds(), *corpus.read(agent.NAME)])
    compiler = agent.clang()
    if compiler is None:
        raise SystemExit("needs clang with libFuzzer: scripts/setup --fuzz installs it")
    agent.build_fuzzer(compiler, program)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    argv = [os.fspath(program), "-merge=1", "-use_counters=0", os.fspath(into), os.fspath(folder)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_EXTRA)
    return corpus.found(into)


if __name__ == "__main__":
    sys.exit(main())
