"""``monocore context``: names for daemons elsewhere, with their tokens, which are never shown. See ``docs/access.md``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, UsageError, add_globals
from monocore_core.cli.columns import print_columns, print_document
from monocore_core.cli.failures import clean, for_each, report, warn
from monocore_core.cli.globals import Globals
from monocore_core.client.contexts import Context, Contexts
from monocore_core.client.current import DEFAULT
from monocore_core.client.destination import chosen_context, read_token
from monocore_core.client.remote import Remote
from monocore_core.client.trust import Trust
from monocore_core.client.urls import parse_url
from monocore_core.errors import InvalidInput, MonocoreError

HEAD = ("NAME", "DESCRIPTION", "ENDPOINT", "TOKEN", "TLS")
_HERE = "the daemon of this host"


def main(words: list[str], options: Globals) -> int:
    """Run ``context [ls|create|use|show|inspect|rm] …``; without a word, or with flags only, ``ls``."""
    actions = {
        "ls": _list,
        "list": _list,
        "create": _create,
        "use": _use,
        "show": _show,
        "inspect": _inspect,
        "rm": _remove,
        "remove": _remove,
    }
    return act("context", actions, words, options)


def _list(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore context",
        "List the contexts: names for daemons elsewhere. The one with a star is used where nothing else is said. "
        "Also: context create|use|show|inspect|rm.",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="names only")
    parser.add_argument("--json", action="store_true", help="as JSON, without tokens")
    add_globals(parser)
    parsed = parser.flags(words, options)
    contexts, current = Contexts.of(os.environ), _current(options)
    known, status = _known(contexts, debug=options.debug)
    if parsed.json:
        print_document([_details(one, current=one.name == current) for one in known])
    elif parsed.quiet:
        for one in known:
            print(one.name)
    else:
        print_columns(HEAD, [_row(one, current=one.name == current) for one in known])
    return status


def _create(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore context create",
        "Keep under a name where a daemon is (--host), the token for it (--token-file) and whom to trust. It is kept for your eyes only.",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="letters, digits, '_', '.' and '-'")
    add("--description", default="", metavar="TEXT", help="for you")
    add(
        "--tls-fingerprint", default="", metavar="HEX", help="SHA-256 of its certificate, as its log shows it"
    )
    add("--tls-ca", default="", metavar="FILE", help="PEM of the authorities, one of which signed it")
    add("--tls-cert", default="", metavar="FILE", help="PEM of a certificate of yours, where it asks for one")
    add(
        "--tls-key",
        default="",
        metavar="FILE",
        help="its key, without a password (default: in the same file)",
    )
    add(
        "--allow-plain-text",
        action="store_true",
        help="send the token without TLS, since something else encrypts",
    )
    add("--replace", action="store_true", help="put it in the place of the one of its name")
    add("--use", action="store_true", help="and use it from now on")
    add_globals(parser)
    parsed = parser.flags(words, options)
    if options.host is None:
        raise UsageError("where it is is not said", "--host https://HOST:3456.", "monocore context create")
    url = parse_url(options.host)
    tls = Trust(
        fingerprint=parsed.tls_fingerprint,
        ca=_absolute(parsed.tls_ca),
        cert=_absolute(parsed.tls_cert),
        key=_absolute(parsed.tls_key),
    )
    token = read_token(options.token_file) if options.token_file is not None else ""
    remote = Remote(url, named_by="--host", token=token, tls=tls, plain=parsed.allow_plain_text)
    _check(remote)
    contexts = Contexts.of(os.environ)
    contexts.create(
        Context(
            parsed.name,
            str(url),
            token=token,
            tls=tls,
            description=parsed.description,
            plain=parsed.allow_plain_text,
        ),
        replace=parsed.replace,
    )
    if parsed.use:
        contexts.use(parsed.name)
    print(parsed.name)
    return 0


def _use(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore context use",
        f"Use a context where nothing else is said; '{DEFAULT}' is this host's daemon.",
    )
    parser.add_argument("name", metavar="NAME", help=f"of the context, or '{DEFAULT}'")
    add_globals(parser)
    parsed = parser.flags(words, options)
    Contexts.of(os.environ).use(parsed.name)
    for variable in ("MONOCORE_HOST", "MONOCORE_CONTEXT"):
        if os.environ.get(variable):
            warn(f"warning: {variable} is set, and goes before it")
            break
    print(parsed.name)
    return 0


def _show(words: list[str], options: Globals) -> int:
    parser = Parser("monocore context show", "Print the name of the context that is used.")
    add_globals(parser)
    parser.flags(words, options)
    print(clean(_current(options)))
    return 0


def _inspect(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore context inspect", "Show everything of contexts but their tokens, as a JSON list."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of the context (default: the one that is used)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON (always so)")
    add_globals(parser)
    parsed = parser.flags(words, options)
    contexts, current = Contexts.of(os.environ), _current(options)
    found: list[Mapping[str, object]] = []

    def inspect(name: str) -> None:
        one = _here() if name == DEFAULT else contexts.get(name)
        found.append(_details(one, current=name == current))

    status = for_each(parsed.names or [current], inspect, debug=options.debug)
    print_document(found)
    return status


def _remove(words: list[str], options: Globals) -> int:
    parser = Parser("monocore context rm", "Forget contexts, with their tokens.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of the context")
    parser.add_argument("-f", "--force", action="store_true", help="also the current one")
    add_globals(parser)
    parsed = parser.flags(words, options)
    contexts = Contexts.of(os.environ)

    def remove(name: str) -> None:
        contexts.remove(name, force=parsed.force)
        print(name)

    return for_each(parsed.names, remove, debug=options.debug)


def _current(options: Globals) -> str:
    return chosen_context(os.environ, host=options.host, context=options.context)


def _known(contexts: Contexts, *, debug: bool) -> tuple[list[Context], int]:
    """This host's and all others; what is wrong with one keeps the others from nothing."""
    found, status = [_here()], 0
    for name in contexts.names():
        try:
            found.append(contexts.get(name))
        except MonocoreError as error:
            status = 1
            report(error, debug=debug)
    return found, status


def _here() -> Context:
    return Context(DEFAULT, "", description=_HERE)


def _row(one: Context, *, current: bool) -> tuple[str, ...]:
    return (
        f"{one.name} *" if current else one.name,
        clean(one.description, 60),
        clean(one.url) or "-",
        "yes" if one.token else "-",
        _trust(one),
    )


def _trust(one: Context) -> str:
    if not one.url.startswith("https:"):
        return "-"
    words = ["pinned"] if one.tls.fingerprint else []
    words += ["own authority"] if one.tls.ca else []
    words += ["client certificate"] if one.tls.cert else []
    return ", ".join(words) or "public authorities"


def _details(one: Context, *, current: bool) -> dict[str, object]:
    return {
        "name": one.name,
        "current": current,
        "description": one.description,
        "host": one.url,
        "token": bool(one.token),
        "allow_plain_text": one.plain,
        "tls": {key: getattr(one.tls, key) for key in Trust.__slots__},
    }


def _check(remote: Remote) -> None:
    """Refuse what could never connect.

    Raises:
        InvalidInput: a fingerprint is none, a file cannot be used, or they are not for this URL.
    """
    if remote.url.scheme == "https":
        from monocore_core.client.tls import context_of

        context_of(remote.tls)
    elif remote.tls:
        raise InvalidInput(f"{remote.url} is without TLS, and flags are about it", hint="use https://")


def _absolute(file: str) -> str:
    return str(Path.cwd() / Path(file).expanduser()) if file else ""
