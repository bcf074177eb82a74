"""Run clauses against fakes, in a pytest of their own, and tell what became of each."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

_ROOT = Path(__file__).parents[2]
_LIMIT = 500.0
#: Profile of hypothesis: that a fake is caught is enough, by the smallest example or not.
UNSHRUNK = "unshrunk"
#: What ``conftest.py`` says of a test that took too long.
_CUT_OFF = "took longer than"


@frozen
class Verdict:
    """Of one clause: ``passed``, ``failed``, ``error`` or ``skipped``, and the reason."""

    outcome: str
    reason: str = ""


def clauses(contract: type) -> frozenset[str]:
    """Names of a contract's tests."""
    return frozenset(name for name in dir(contract) if name.startswith("test_"))


def verdicts(module: str, wanted: Mapping[str, str], report: Path) -> dict[str, Verdict]:
    """By clause. One that was cut off, as the machine may have had no time for it, is run again.

    Args: as of :func:`_verdicts`.
    """
    found = _verdicts(module, wanted, report)
    cut = {name.partition("[")[0] for name, verdict in found.items() if verdict.outcome == "error"}
    if cut:
        again = {clause: name for clause, name in wanted.items() if clause in cut}
        found |= _verdicts(module, again, report.with_name(f"again-{report.name}"))
    return found


def _verdicts(module: str, wanted: Mapping[str, str], report: Path) -> dict[str, Verdict]:
    """By clause.

    Args:
        module: file in this folder that has the test classes.
        wanted: clause to name of the class to run it in.
        report: file to write.
    """
    nodes = [f"tests/conformance/{module}::{name}::{clause}" for clause, name in wanted.items()]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    words += [f"--basetemp={report.with_suffix('.d')}", f"--hypothesis-profile={UNSHRUNK}"]
    environment = {**os.environ, "MONOCORE_CONTRACT_PATIENCE": "4"}
    done = subprocess.run(
        [*words, *nodes],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Verdict] = {}
    for case in ET.parse(report).iter("testcase"):
        assert case.get("name"), ET.tostring(case, "unicode")[-3000:] + done.stdout[-6000:]
        kinds = {child.tag: child.get("message", "") for child in case}
        name = case.get("name", "")
        for tag, outcome in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
            if tag in kinds and not (name in found and found[name].outcome == "failed"):
                reason = kinds[tag].strip().splitlines()[0][:160]
                # a clause that was cut off has found nothing
                found[name] = Verdict("error" if _CUT_OFF in reason else outcome, reason)
                break
        else:
            found.setdefault(name, Verdict("passed"))
    return found


def table(interface: str, fakes: Mapping[str, str], found: Mapping[str, Verdict]) -> tuple[str, str]:
    """Title and text of what became of one contract's fakes: clause, broken fake, verdict. To be recorded as a property of the test."""
    rows = [
        f"{clause.removeprefix('test_'):72} | {fakes[clause.partition('[')[0]]:32} | {verdict.outcome} {verdict.reason}"
        for clause, verdict in sorted(found.items())
    ]
    caught = sum(verdict.outcome == "failed" for verdict in found.values())
    title = f"contract of {interface}: {caught} of {len(found)} broken fakes caught"
    return title, "\n".join([f"{'clause':72} | {'broken fake':32} | its clause has", *rows])
