"""A server for one connection, which says what it is told to say."""

from __future__ import annotations

import socket
import threading
from pathlib import Path


def serve_once(path: Path, said: bytes, heard: list[bytes], until: bytes) -> threading.Thread:
    """A server at ``path`` for one connection, whose request ends with ``until``."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as one:
            got = b""
            while not got.endswith(until) and (data := one.recv(65536)):
                got += data
            heard.append(got)
            one.sendall(said)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread
