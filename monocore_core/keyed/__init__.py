"""Folders that are made once each under a key, by whichever task or process comes first, and survive ``kill -9`` at any line.

Worked example::

    folders = KeyedFolders(host.state)
    folders.prepare()                                    # removes what a crash left
    root = await folders.ensure("sha256-0f3a…", find=read_record, build=make_it)
    await folders.remove("sha256-0f3a…")
"""

from monocore_core.keyed.disk import (
    disk_hint,
    make_private,
    storage_errors,
    sync_all,
    sync_folder,
    write_file,
)
from monocore_core.keyed.erase import erase
from monocore_core.keyed.folders import Check, KeyedFolders, in_thread
from monocore_core.keyed.locks import locked, shared, take
from monocore_core.keyed.record import read_record, write_record

__all__ = [
    "Check",
    "KeyedFolders",
    "disk_hint",
    "erase",
    "in_thread",
    "locked",
    "make_private",
    "read_record",
    "shared",
    "storage_errors",
    "sync_all",
    "sync_folder",
    "take",
    "write_file",
    "write_record",
]
