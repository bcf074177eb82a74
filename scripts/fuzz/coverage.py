"""How much of each parser its kept corpus takes: branches, by coverage.py for Python and by gcov for C."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from scripts.fuzz import agent, corpus
from scripts.fuzz.target import Target

_TIMEOUT: Final = 900


@frozen
class Covered:
    """Branches of one file, or of the parsers in it."""

    name: str
    taken: int
    all: int
    missing: str = ""

    @property
    def percent(self) -> float:
        """Of all."""
        return 100.0 * self.taken / self.all if self.all else 100.0


def of_python(target: Target) -> Iterator[Covered]:
    """Of a target in Python: replayed under coverage.py, which the group ``fuzz`` has."""
    folder = corpus.WORK / "coverage"
    folder.mkdir(parents=True, exist_ok=True)
    data, report = folder / f"{target.name}.data", folder / f"{target.name}.json"
    tool = [sys.executable, "-m", "coverage"]
    name = target.name
    files = ",".join(f"*/{module.replace('.', '/')}.py" for module in target.covers)
    run = [
        *tool,
        "run",
        "--branch",
        f"--data-file={data}",
        f"--include={files}",
        "-m",
        "scripts.fuzz.replay",
        name,
    ]
    subprocess.run(run, check=True, timeout=_TIMEOUT)
    subprocess.run(
        [*tool, "json", "-q", f"--data-file={data}", "-o", os.fspath(report)], check=True, timeout=_TIMEOUT
    )
    found: Mapping[str, Any] = json.loads(report.read_text())["files"]
    for path, table in sorted(found.items()):
        taken = whole = 0
        missing: list[str] = []
        for function, part in table["functions"].items():
            if not any(fnmatchcase(function, pattern) for pattern in target.aside):
                taken += part["summary"]["covered_branches"]
                whole += part["summary"]["num_branches"]
                missing += [f"{begin}->{end}" for begin, end in part["missing_branches"]]
        yield Covered(path, taken, whole, " ".join(missing))


def of_agent() -> Iterator[Covered]:
    """Of the agent: of the functions that read what the host sends."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return
    folder = corpus.WORK / "agent-coverage"
    shutil.rmtree(folder, ignore_errors=True)
    program = folder / "replay"
    agent.build_counted(compiler, program)
    agent.replay(program, [*agent.seeds(), *corpus.read(agent.NAME)]).check_returncode()
    for source, functions in agent.PARSERS.items():
        (notes,) = [path for path in folder.glob("*.gcda") if path.name.endswith(f"{Path(source).stem}.gcda")]
        text = subprocess.run(
            ["gcov", "--json-format", "--stdout", "--branch-probabilities", os.fspath(notes)],
            check=True,
            capture_output=True,
            timeout=_TIMEOUT,
            cwd=folder,
        ).stdout
        yield _counted(source, json.loads(text), functions)


def _counted(source: str, table: Mapping[str, Any], functions: frozenset[str] | None) -> Covered:
    taken: list[bool] = []
    missing: list[str] = []
    for file in table["files"]:
        if Path(file["file"]).name != source:
            continue
        for line in file["lines"]:
            if functions is not None and line.get("function_name") not in functions:
                continue
            for branch in line["branches"]:
                taken.append(branch["count"] > 0)
                if not branch["count"]:
                    missing.append(str(line["line_number"]))
    return Covered(f"agent/{source}", sum(taken), len(taken), " ".join(missing))
