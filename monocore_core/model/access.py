"""Who may do what over the network: scopes, quotas, and what a token stands for."""

from __future__ import annotations

import re
from enum import StrEnum

from attrs import field, frozen, validators

from monocore_core.errors import InvalidInput

#: Groups that one token is limited to, at most.
MAX_GROUPS = 64
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}\Z")


class Scope(StrEnum):
    """What a token allows; each includes those before it."""

    READ = "read"
    """See what there is: sandboxes, their logs and figures. Nothing inside them, nothing changes."""
    RUN = "run"
    """Make, use and remove sandboxes, without anything of the host: no folders, files, settings of it."""
    ADMIN = "admin"
    """Everything that the owner may: the daemon's end, projects, host folders."""

    def includes(self, other: Scope) -> bool:
        """Whether this one allows what needs ``other``."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@frozen
class Quota:
    """What the sandboxes of one token may be together, those that do not run counted too; 0 for no limit.

    Attributes:
        sandboxes: how many.
        vcpus: virtual processors.
        memory: bytes of guest RAM.
        lifetime: seconds that one run of each may take.
    """

    sandboxes: int = field(default=0, validator=validators.ge(0))
    vcpus: int = field(default=0, validator=validators.ge(0))
    memory: int = field(default=0, validator=validators.ge(0))
    lifetime: float = field(default=0.0, validator=validators.ge(0.0))


@frozen
class Access:
    """What somebody may do.

    Attributes:
        who: id of a token, or ``owner`` for who reaches the Unix socket.
        scope: the widest.
        groups: of sandboxes that it is limited to; empty: not limited.
        quota: of its sandboxes.
    """

    who: str
    scope: Scope
    groups: tuple[str, ...] = ()
    quota: Quota = Quota()


#: Who opens the Unix socket is the home's owner, or root: the file system has seen to that.
OWNER = Access("owner", Scope.ADMIN)


@frozen
class TokenRequest:
    """A token to be made.

    Attributes:
        name: for people.
        scope: the widest that it allows.
        groups: that it is limited to; empty: not limited.
        expires: seconds since the epoch after which it is worth nothing, or None.
        quota: of its sandboxes.
    """

    name: str
    scope: Scope = Scope.READ
    groups: tuple[str, ...] = ()
    expires: float | None = None
    quota: Quota = Quota()

    def __attrs_post_init__(self) -> None:
        for what, text in (("name", self.name), *(("group", group) for group in self.groups)):
            if not _NAME.match(text):
                raise InvalidInput(
                    f"token {what} {text[:80]!r} is not allowed",
                    hint="use at most 63 letters, digits, '_', '.' and '-', beginning with a letter or digit",
                )
        if len(self.groups) > MAX_GROUPS:
            raise InvalidInput(f"{len(self.groups)} groups are more than the {MAX_GROUPS} of a token")
        if self.groups and self.scope is Scope.ADMIN:
            raise InvalidInput(
                "a token of scope admin cannot be limited to groups", hint="give it the scope run"
            )


@frozen
class Token:
    """A token that was made, without its secret, which nobody has but who was told it.

    Attributes:
        id: its public part.
        request: what was asked.
        created: seconds since the epoch.
    """

    id: str
    request: TokenRequest
    created: float

    @property
    def access(self) -> Access:
        """What it allows, as long as it is valid."""
        asked = self.request
        return Access(self.id, asked.scope, asked.groups, asked.quota)

    def valid(self, now: float) -> bool:
        """Whether it has not expired at that time, seconds since the epoch."""
        return self.request.expires is None or now < self.request.expires
