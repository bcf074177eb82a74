"""What stands around the sandboxes: ``python -m tests.integration.network.outside ROLE FOLDER ADDRESS...``.

Runs in a namespace that the test made, as "the host" or as everything beyond it. It answers at every address (port 7000, TCP and UDP), gives
and takes bytes (7001, 7002), resolves names where its role is ``beyond``, writes down every frame that bears the marker (``ROLE.seen``), and
tries what it is told to over a Unix socket (``ROLE.sock``): ``tcp ADDRESS PORT`` or ``udp ADDRESS PORT``.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

MARKER = b"MONOCORE-FORGED"
PORT, SOURCE, SINK = 7000, 7001, 7002
#: Name to (addresses, seconds).
NAMES = {
    "allowed.example.com": (["8.8.4.4"], 1),
    "other.example.com": (["9.9.9.9"], 60),
    "rebinding.example.com": (["169.254.169.254", "192.168.77.1"], 60),
}
_OUTGOING = 4
_IP_FREEBIND = 15  # of linux/in.h


def main(role: str, folder: Path, addresses: list[str]) -> None:
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    _spawn(_sniff, sniffer, folder / f"{role}.seen")
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port, serve in ((PORT, _echo_stream), (SOURCE, _give), (SINK, _take)):
            _listen(family, address, port, serve)
        _spawn(_echo_datagrams, _bound(family, socket.SOCK_DGRAM, address, PORT))
        if role == "beyond":
            _spawn(_names, _bound(family, socket.SOCK_DGRAM, address, 53))
            _listen(family, address, 53, _names_stream)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind(str(folder / f"{role}.sock"))
    control.listen(8)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        client, _ = control.accept()
        with client:
            kind, target, number = client.recv(200).decode().split()
            client.sendall(attempt(kind, target, int(number)).encode())


def attempt(kind: str, address: str, port: int) -> str:
    """``ok`` when what is sent comes back, else why not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as one:
        one.settimeout(3)
        try:
            one.connect((address, port))
            one.sendall(b"hello\n")
            return "ok" if one.recv(100) == b"hello\n" else "wrong"
        except OSError as error:
            return str(error)


def _listen(family: int, address: str, port: int, serve: Callable[[socket.socket], None]) -> None:
    listener = _bound(family, socket.SOCK_STREAM, address, port)
    listener.listen(64)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            _spawn(_one, serve, client)

    _spawn(accept)


def _one(serve: Callable[[socket.socket], None], client: socket.socket) -> None:
    client.settimeout(30)
    with client, suppress(OSError):
        serve(client)


def _echo_stream(client: socket.socket) -> None:
    client.sendall(client.recv(2048))


def _give(client: socket.socket) -> None:
    while True:
        client.sendall(bytes(65536))


def _take(client: socket.socket) -> None:
    while client.recv(65536):
        pass


def _echo_datagrams(server: socket.socket) -> None:
    while True:
        data, client = server.recvfrom(65536)
        with suppress(OSError):
            server.sendto(data, client)


def _names(server: socket.socket) -> None:
    while True:
        data, client = server.recvfrom(4096)
        with suppress(OSError):
            server.sendto(_answer(data), client)


def _names_stream(client: socket.socket) -> None:
    (size,) = struct.unpack("!H", client.recv(2, socket.MSG_WAITALL))
    reply = _answer(client.recv(size, socket.MSG_WAITALL))
    client.sendall(struct.pack("!H", len(reply)) + reply)


def _answer(data: bytes) -> bytes:
    question = dns.message.from_wire(data)
    asked = question.question[0]
    reply = dns.message.make_response(question, recursion_available=True)
    found = NAMES.get(str(asked.name).rstrip(".").lower())
    if found is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype == dns.rdatatype.A:
        addresses, seconds = found
        reply.answer.append(dns.rrset.from_text_list(asked.name, seconds, "IN", "A", addresses))
    return reply.to_wire()


def _sniff(sniffer: socket.socket, seen: Path) -> None:
    with seen.open("w") as file:
        while True:
            frame, at = sniffer.recvfrom(65536)
            if MARKER in frame and at[2] != _OUTGOING:
                file.write(f"{at[0]} {frame.hex()}\n")
                file.flush()


def _bound(family: int, kind: int, address: str, port: int) -> socket.socket:
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # the host's end of the uplink is yet to come
    made.bind((address, port))
    return made


def _spawn(target: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
