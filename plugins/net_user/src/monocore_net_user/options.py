"""What ``[plugins.net_user]`` can say."""

from __future__ import annotations

from attrs import field, frozen, validators


@frozen
class UserOptions:
    """Options of the backend.

    Attributes:
        mtu: bytes of the largest packet in the guest.
    """

    mtu: int = field(default=1500, validator=[validators.ge(576), validators.le(65521)])
