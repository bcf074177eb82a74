"""``monocore token``: make, list and revoke tokens, which who comes over TCP needs. See ``docs/access.md``."""

from __future__ import annotations

import time

from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.failures import for_each
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import settings_for
from monocore_core.cli.render import Json, human_age, print_json, print_table
from monocore_core.cli.times import local
from monocore_core.errors import InvalidInput
from monocore_core.model.access import Quota, Scope, Token, TokenRequest
from monocore_core.notation.quantity import parse_duration, parse_size
from monocore_core.store import Store
from monocore_core.store.tokens import Tokens


def main(words: list[str], options: Globals) -> int:
    """Run ``token [list|create|revoke] …``; without a word, or with flags only, ``list``."""
    actions = {
        "list": _list,
        "ls": _list,
        "create": _create,
        "revoke": _revoke,
    }
    return act("token", actions, words, options)


def _list(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore token", "List the tokens. Also: token create [OPTIONS] NAME, token revoke NAME…."
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    with Store.open(settings_for(options).home) as store:
        tokens = Tokens(store.database).all()
    if parsed.json:
        print_json([_details(token) for token in tokens])
        return 0
    rows = [
        (
            token.id,
            token.request.name,
            token.request.scope.value,
            ", ".join(token.request.groups) or "all",
            human_age(token.created),
            _expiry(token, time.time()),
        )
        for token in tokens
    ]
    print_table(("ID", "NAME", "SCOPE", "GROUPS", "CREATED", "EXPIRES"), rows)
    return 0


def _create(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore token create", "Make a token and print it. It is shown this once: only its hash is kept."
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="for people")
    add(
        "--scope",
        action=Value,
        parse=_scope,
        default=Scope.READ,
        metavar="SCOPE",
        help="read (default), run or admin",
    )
    add(
        "--group",
        action="append",
        default=[],
        metavar="NAME",
        help="limit it to sandboxes of this group; may be repeated",
    )
    add(
        "--expires",
        action=Value,
        parse=parse_duration,
        metavar="DURATION",
        help="until it is worth nothing (default: never)",
    )
    quota = parser.add_argument_group("quota", "of all sandboxes made with it; without one there is no limit")
    quota.add_argument("--sandboxes", action=Value, parse=_count, default=0, metavar="N", help="how many")
    quota.add_argument(
        "--vcpus", action=Value, parse=_count, default=0, metavar="N", help="their virtual processors"
    )
    quota.add_argument(
        "--memory", action=Value, parse=parse_size, default=0, metavar="SIZE", help="their memory"
    )
    quota.add_argument(
        "--lifetime",
        action=Value,
        parse=parse_duration,
        default=0.0,
        metavar="DURATION",
        help="how long one may run",
    )
    add_globals(parser)
    parsed = parser.flags(words, options)
    request = TokenRequest(
        parsed.name,
        parsed.scope,
        tuple(parsed.group),
        None if parsed.expires is None else time.time() + parsed.expires,
        Quota(parsed.sandboxes, parsed.vcpus, parsed.memory, parsed.lifetime),
    )
    with Store.open(settings_for(options).home) as store:
        _, text = Tokens(store.database).create(request)
    print(text)
    return 0


def _revoke(words: list[str], options: Globals) -> int:
    parser = Parser("monocore token revoke", "Make tokens worthless, at once.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="name or id of the token")
    add_globals(parser)
    parsed = parser.flags(words, options)
    with Store.open(settings_for(options).home) as store:
        tokens = Tokens(store.database)
        return for_each(
            parsed.names, lambda name: print(tokens.revoke(name).request.name), debug=options.debug
        )


def _scope(text: str) -> Scope:
    try:
        return Scope(text)
    except ValueError:
        raise InvalidInput(f"{text[:40]!r} is not a scope", hint=f"one of {', '.join(Scope)}") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 9):
        raise InvalidInput(f"{text[:40]!r} is not a number")
    return int(text)


def _expiry(token: Token, now: float) -> str:
    at = token.request.expires
    if at is None:
        return "never"
    return local(at).partition(".")[0] if token.valid(now) else "expired"


def _details(token: Token) -> dict[str, Json]:
    asked = token.request
    return {
        "id": token.id,
        "name": asked.name,
        "scope": asked.scope.value,
        "groups": list(asked.groups),
        "created": token.created,
        "expires": asked.expires,
        "quota": {
            "sandboxes": asked.quota.sandboxes,
            "vcpus": asked.quota.vcpus,
            "memory": asked.quota.memory,
            "lifetime": asked.quota.lifetime,
        },
    }
