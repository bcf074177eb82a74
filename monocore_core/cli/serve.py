"""``monocore serve``: the daemon that keeps a home's sandboxes; and its end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import sys
import time
from collections.abc import Mapping

from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import only_here, place_for, reach_here
from monocore_core.client.api import Api, target
from monocore_core.client.connection import NobodyListens
from monocore_core.client.tables import whole
from monocore_core.errors import DeadlineExceeded, InvalidInput
from monocore_core.model.daemon import DaemonSettings
from monocore_core.processes import watch

#: Seconds that a daemon gets to end, beside what its sandboxes get to.
ENDING = 60.0
#: Of TCP, where an address has none.
PORT = 3456


def main(words: list[str], options: Globals) -> int:
    """Run ``serve``."""
    parsed = _parser().flags(words, options)
    if (
        options.host is not None or options.context is not None
    ):  # what the environment says is for others: units run this
        only_here(options)
    if parsed.stop:
        return _stop(options, sandboxes=parsed.sandboxes)
    if parsed.sandboxes:
        raise InvalidInput("--sandboxes goes with --stop")
    if parsed.status:
        return _status(options)

    from attrs import evolve

    from monocore_core.cli.settings import settings_for
    from monocore_core.server.daemon import ServeOptions, serve
    from monocore_core.server.starter import readiness

    with readiness() as ready:
        settings = settings_for(options, anywhere=True)
        _log_to_stderr(settings.daemon.log_format)
        idle = settings.daemon.idle_exit if parsed.idle_exit is None else parsed.idle_exit
        settings = evolve(settings, daemon=_listening(settings.daemon, parsed))
        return serve(settings, ServeOptions(idle_exit=idle, replace=parsed.replace), ready)


def _parser() -> Parser:
    parser = Parser(
        "monocore serve",
        "Keep the sandboxes of a home, and answer on its socket, until SIGTERM. Sandboxes run on when it ends, and the next "
        "one finds them. Other commands start one when nobody answers.",
    )
    add = parser.add_argument
    add(
        "--idle-exit",
        action=Value,
        parse=_idle,
        metavar="DURATION",
        help="end after so long without a request and without anything that runs (default: never)",
    )
    network = parser.add_argument_group(
        "network", "see docs/access.md; nothing is answered there without a token"
    )
    network.add_argument(
        "--listen",
        action=Value,
        parse=_address,
        repeat=True,
        metavar="ADDRESS[:PORT]",
        help="listen on TCP, too (port 3456 where none is given)",
    )
    network.add_argument(
        "--tls", action="store_true", help="with TLS; without --tls-cert by a certificate of its own"
    )
    network.add_argument("--tls-cert", metavar="FILE", help="certificate with its chain, PEM")
    network.add_argument("--tls-key", metavar="FILE", help="its key, PEM")
    network.add_argument(
        "--tls-client-ca", metavar="FILE", help="clients need a certificate signed by one of these"
    )
    network.add_argument(
        "--allow-plain-text",
        action="store_true",
        help="without TLS even where other hosts can read the tokens",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--foreground", action="store_true", help="accepted for habit: it always stays there")
    what.add_argument("--replace", action="store_true", help="take the place of the daemon that has the home")
    what.add_argument("--stop", action="store_true", help="have the daemon end; its sandboxes run on")
    what.add_argument("--status", action="store_true", help="say whether one answers: exit status 0, or 1")
    add("--sandboxes", action="store_true", help="with --stop: stop them before")
    add_globals(parser)
    return parser


def _address(text: str) -> str:
    from monocore_core.config.words import read_listen

    bare = text.endswith("]") or ":" not in text
    return read_listen(f"{text}:{PORT}" if bare else text)


def _listening(settings: DaemonSettings, parsed: argparse.Namespace) -> DaemonSettings:
    """What is configured, changed by the flags."""
    from attrs import evolve

    return evolve(
        settings,
        listen=parsed.listen or settings.listen,
        tls=parsed.tls or settings.tls,
        tls_cert=parsed.tls_cert or settings.tls_cert,
        tls_key=parsed.tls_key or settings.tls_key,
        tls_client_ca=parsed.tls_client_ca or settings.tls_client_ca,
        allow_plain_text=parsed.allow_plain_text or settings.allow_plain_text,
    )


def _idle(text: str) -> float:
    from monocore_core.notation.quantity import parse_duration

    return 0.0 if text == "0" else parse_duration(text)


def _api(options: Globals) -> Api:
    return Api(place_for(options).socket)


def _status(options: Globals) -> int:
    from monocore_core.cli.info import lines

    try:
        found = _api(options).call("GET", target("info"))
    except NobodyListens as error:
        print(error.brief)
        return 1
    print("\n".join(lines(found, time.time())))
    return 0


def _stop(options: Globals, *, sandboxes: bool) -> int:
    """Have it end, and wait until it has. That there is none is no error, but what an earlier one left running is stopped, too."""
    if sandboxes:
        if not os.path.isdir(place_for(options).home):
            return 0
        reach_here(options)  # starts one, which finds what runs
    api = _api(options)
    try:
        pid = whole(api.call("GET", target("info")), "pid")
        handle = watch(pid)
    except (NobodyListens, ProcessLookupError):
        return 0
    try:
        api.call("POST", target("shutdown"), {"stop": sandboxes})
        poll = select.poll()
        poll.register(handle.fileno(), select.POLLIN)
        if not poll.poll(None if sandboxes else ENDING * 1000):
            raise DeadlineExceeded(f"the daemon, process {pid}, did not end within {ENDING:g} s")
    finally:
        handle.close()
    return 0


def _log_to_stderr(form: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if form == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _JsonLines(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by logging."""
        table: Mapping[str, object] = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **({"traceback": self.formatException(record.exc_info)} if record.exc_info else {}),
        }
        return json.dumps(table)
