"""Tokens for the network, in the state database: their hashes, never their secrets.

A token reads ``mc_<id>_<secret>``. The secret is 256 random bits, so one round of SHA-256 keeps it: nobody can try them all, which is
what slow hashes are for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time

from attrs import frozen

from monocore_core.errors import Conflict, Corrupt, NotFound
from monocore_core.model.access import Token, TokenRequest
from monocore_core.serde import structure, unstructure
from monocore_core.store.database import Database

_TEXT = re.compile(r"mc_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
#: Compared with where there is no such id, so that this takes as long.
_NOBODY = hashlib.sha256(b"").digest()


@frozen
class Tokens:
    """The tokens of one home directory."""

    database: Database

    def create(self, request: TokenRequest) -> tuple[Token, str]:
        """A new token, and its text, which is not kept.

        Raises:
            Conflict: another one has its name.
        """
        token = Token(secrets.token_hex(6), request, time.time())
        secret = secrets.token_urlsafe(32)
        body = json.dumps(unstructure(token), separators=(",", ":"))
        with self.database.transaction(durable=True) as connection:
            if connection.execute("SELECT 1 FROM tokens WHERE name = ?", (request.name,)).fetchone():
                raise Conflict(
                    f"there is a token {request.name!r}", hint=f"monocore token revoke {request.name}"
                )
            connection.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?)", (token.id, request.name, _hash(secret), body)
            )
        return token, f"mc_{token.id}_{secret}"

    def all(self) -> list[Token]:
        """Every token that was not revoked, the oldest first."""
        rows = self.database.query("SELECT id, body FROM tokens")
        return sorted((_decode(str(identity), str(body)) for identity, body in rows), key=lambda t: t.created)

    def revoke(self, text: str) -> Token:
        """Forget the token of that name or id; it is refused from now on. A power loss does not bring it back.

        Raises:
            NotFound: there is none.
        """
        with self.database.transaction(durable=True) as connection:
            row = connection.execute(
                "SELECT id, body FROM tokens WHERE id = ? OR name = ?", (text, text)
            ).fetchone()
            if row is None:
                raise NotFound(f"no such token: {text[:80]}", hint="monocore token list shows them")
            connection.execute("DELETE FROM tokens WHERE id = ?", (row[0],))
        return _decode(str(row[0]), str(row[1]))

    def find(self, text: str, now: float | None = None) -> Token | None:
        """The token of that text, if it is valid; the secret is compared in constant time.

        Args:
            text: as :meth:`create` gave it.
            now: seconds since the epoch; None: the present.
        """
        parts = _TEXT.match(text)
        if parts is None:
            return None
        rows = self.database.query("SELECT id, hash, body FROM tokens WHERE id = ?", parts[1])
        known = rows[0][1] if rows else _NOBODY
        same = hmac.compare_digest(_hash(parts[2]), known if isinstance(known, bytes) else _NOBODY)
        if not rows or not same:
            return None
        token = _decode(str(rows[0][0]), str(rows[0][2]))
        return token if token.valid(time.time() if now is None else now) else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _decode(identity: str, body: str) -> Token:
    try:
        table: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"the record of token {identity} is damaged") from error
    if not isinstance(table, dict):
        raise Corrupt(f"the record of token {identity} is damaged")
    return structure({str(key): value for key, value in table.items()}, Token, f"token {identity}")  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
