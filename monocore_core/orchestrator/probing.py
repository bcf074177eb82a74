"""Asking a running sandbox whether it works: from within, through its agent, so that no network of the host is involved.

What a guest says is not trusted: no more of it is read than a verdict takes, and no longer than the probe may last.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal

from monocore_core.errors import MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.model.health import ExecProbe, Healthcheck, HttpProbe, TcpProbe
from monocore_core.model.sandbox import CommandRequest
from monocore_core.model.service import Service
from monocore_core.sandbox import Sandbox

#: Bytes of an answer's first line, and of a command's output that a reason quotes.
MAX_STATUS_LINE, MAX_QUOTED = 8192, 200
_STATUS = re.compile(rb"HTTP/\d\.\d ([1-5]\d\d)(?:[ \r\n]|$)")


async def probe(sandbox: Sandbox, service: Service, check: Healthcheck) -> str | None:
    """Ask once; gives what is wrong, a sentence, or None. Raises nothing but cancellation."""
    try:
        async with asyncio.timeout(check.timeout):
            if isinstance(check.probe, ExecProbe):
                return await _exec(sandbox, service, check.probe)
            if isinstance(check.probe, HttpProbe):
                return await _http(sandbox, check.probe, check.timeout)
            return await _tcp(sandbox, check.probe, check.timeout)
    except TimeoutError:
        return f"no answer within {check.timeout:g} s"
    except MonocoreError as error:
        return error.brief


def http_request(path: str) -> bytes:
    """A minimal GET request (RFC 9112, section 3)."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: monocore-health\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")


def http_verdict(line: bytes, wanted: HttpProbe) -> str | None:
    """What is wrong with the first line of an answer, or None (RFC 9112, section 4)."""
    found = _STATUS.match(line)
    if found is None:
        return "the answer is not HTTP" if line else "the connection was closed without an answer"
    status = int(found[1])
    if wanted.status_min <= status <= wanted.status_max:
        return None
    return f"GET {wanted.path} was answered with {status}"


async def _tcp(sandbox: Sandbox, wanted: TcpProbe, seconds: float) -> str | None:
    async with await sandbox.guest.dial(wanted.port, timeout=seconds):
        return None


async def _http(sandbox: Sandbox, wanted: HttpProbe, seconds: float) -> str | None:
    async with await sandbox.guest.dial(wanted.port, timeout=seconds) as stream:
        await stream.write(http_request(wanted.path))
        line = b""
        while b"\n" not in line and len(line) < MAX_STATUS_LINE and (part := await stream.read(4096)):
            line += part
        return http_verdict(line, wanted)


async def _exec(sandbox: Sandbox, service: Service, wanted: ExecProbe) -> str | None:
    request = CommandRequest(
        args=wanted.command, entrypoint=(), env=service.env, cwd=service.workdir, user=service.user
    )
    process = await sandbox.exec(request)
    try:
        said, _ = await asyncio.gather(_last_words(process), _drain(process))
        code = (await process.wait()).code
    except BaseException:
        with contextlib.suppress(MonocoreError):
            await process.signal(signal.SIGKILL, group=True)
            await process.release()
        raise
    if code == 0:
        return None
    quoted = f": {said}" if said else ""
    return f"{wanted.command[0]} ended with {code}{quoted}"


async def _drain(process: GuestProcess) -> None:
    while await process.stderr.read():
        pass


async def _last_words(process: GuestProcess) -> str:
    said = b""
    while part := await process.stdout.read():
        said = (said + part)[-MAX_QUOTED:]
    return " ".join(said.decode(errors="replace").split())
