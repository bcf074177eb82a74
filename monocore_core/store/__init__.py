"""What is kept between two commands: images, layers, leases, folders. :class:`Store` is the way in."""

from monocore_core.store.facade import Store, private_root_key
from monocore_core.store.gc import DiskUsage, Reclaimed, Usage
from monocore_core.store.images import Removed
from monocore_core.store.leases import Lease
from monocore_core.store.limits import DEFAULT_LIMITS, Limits
from monocore_core.store.volumes import Volume

__all__ = [
    "DEFAULT_LIMITS",
    "DiskUsage",
    "Lease",
    "Limits",
    "Reclaimed",
    "Removed",
    "Store",
    "Usage",
    "Volume",
    "private_root_key",
]
