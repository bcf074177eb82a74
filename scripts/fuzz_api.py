"""``make fuzz-api``: schemathesis (https://schemathesis.io/) sends what the daemon's own OpenAPI document allows, and what it does not, for a while.

It has an environment of its own, in ``.cache/schemathesis``: it is needed for this alone. The daemon has a home of its own, without images or
sandboxes, so what is created is only written down.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from monocore_core.model.access import Scope, TokenRequest
from monocore_core.store import Store
from monocore_core.store.tokens import Tokens

VERSION: Final = "4.32.5"
ROOT: Final = Path(__file__).parents[1]
#: What ends the daemon, asks a registry of the internet, does not end, is for the Unix socket, or takes an archive, which schemathesis cannot make.
LEFT_OUT: Final = (
    "/v1/shutdown",
    "/v1/images/pull",
    "/v1/live",
    "/v1/dashboard",
    "/v1/events",
    "/up",
    "/v1/projects/up",
    "/v1/images/load",
    "/v1/sandboxes/{id}/archive",
)
CHECKS: Final = "status_code_conformance,content_type_conformance,response_schema_conformance"
_WAITING: Final = 60.0


def main() -> int:
    """Exit status: 0 when nothing was found; the daemon's log must hold no failure, either."""
    parser = argparse.ArgumentParser(prog="make fuzz-api", description="Send the daemon what nobody expects.")
    parser.add_argument("--seconds", type=int, default=300, help="for so long at most (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default: 0)")
    options = parser.parse_args()
    limits = ["--max-time", str(options.seconds), "--seed", str(options.seed)]
    program = _schemathesis()
    home = Path(tempfile.mkdtemp(prefix="monocore-fuzz-"))
    try:
        with Store.open(home) as store:
            asked = TokenRequest("fuzz", Scope.ADMIN, (), time.time() + options.seconds + 600)
            _, token = Tokens(store.database).create(asked)
        log = home / "daemon.log"
        words = [
            sys.executable,
            "-m",
            "monocore_core",
            "serve",
            "--home",
            str(home),
            "--listen",
            "127.0.0.1:0",
        ]
        with log.open("wb") as stream, subprocess.Popen(words, stdout=stream, stderr=stream) as daemon:
            try:
                url = _listening(log)
                status = _run(program, home, url, token, limits)
            finally:
                daemon.terminate()
        told = log.read_text(errors="replace")
    finally:
        shutil.rmtree(home)
    if "Traceback" in told:
        print(f"the daemon failed:\n{told[-8000:]}")
        return 1
    return status


def _run(program: Path, home: Path, url: str, token: str, limits: list[str]) -> int:
    left_out = [word for path in LEFT_OUT for word in ("--exclude-path", path)]
    return subprocess.run(
        [program, "run", f"{url}/v1/openapi.json", "-H", f"Authorization: Bearer {token}", "--checks", CHECKS,
         *limits, "--phases", "examples,coverage,fuzzing",
         "--request-timeout", "60", "--continue-on-failure", *left_out],
        check=False, cwd=home, env={**os.environ, "NO_COLOR": "1"},
    ).returncode  # fmt: skip


def _listening(log: Path) -> str:
    deadline = time.monotonic() + _WAITING
    while time.monotonic() < deadline:
        if found := re.search(r"listening on (http://\S+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise SystemExit(f"the daemon does not listen: {log.read_text(errors='replace')[-2000:]}")


def _schemathesis() -> Path:
    """The program, installed where it is not."""
    place = ROOT / ".cache" / "schemathesis"
    program = place / "bin" / "schemathesis"
    stamp = place / VERSION
    if not stamp.exists():
        print(f"installing schemathesis {VERSION} in {place}", file=sys.stderr)
        uv = ROOT / ".venv/bin/uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, place], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", place / "bin/python", f"schemathesis=={VERSION}"],
            check=True,
        )
        stamp.touch()
    return program


if __name__ == "__main__":
    sys.exit(main())
