"""A real registry on loopback: Debian's ``docker-registry``, in a folder of its own, ended whatever happens.

Needs no third-party library, so that everything that can import the core can use it. Example::

    with LocalRegistry(tmp_path / "registry") as registry:
        reference = registry.push(busybox_image(), "team/app", "1.0")      # 127.0.0.1:40123/team/app:1.0

``async with`` does the same from a coroutine. Start it in the main thread: the kernel ends it with the thread that started it.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import shutil
import ssl
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import urlsplit

from monocore_core.errors import DeadlineExceeded, MachineError, NotFound, Unreachable
from monocore_core.interfaces.provider import Problem
from monocore_core.model.digest import Digest
from monocore_core.testing.bcrypt import bcrypt
from monocore_core.testing.images import BuiltImage
from monocore_core.testing.packing import Blob

PROGRAM, PACKAGE = "docker-registry", "docker-registry"
#: Seconds until it must answer, and until it must have ended.
START_TIMEOUT, STOP_TIMEOUT = 20.0, 5.0
#: Seconds for one request of a push.
REQUEST_TIMEOUT = 60.0
_LISTENING = re.compile(r"listening on (?:127\.0\.0\.1|\[::1\]):(\d+)")
_BLOCK = 1 << 20


def registry_problem() -> Problem | None:
    """Why this host cannot run a registry, or None."""
    for program, package in ((PROGRAM, PACKAGE), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            return Problem(f"{program} is not installed", f"install the Debian package {package}")
    return None


class LocalRegistry:
    """A registry process, sync and async context manager.

    Args:
        folder: made when missing; holds everything, and is left in place.
        users: names and passwords for basic authentication; empty: everybody may.
        tls: serve HTTPS with a certificate of its own for 127.0.0.1 and localhost; its authority is ``ca``.

    Attributes:
        address: ``127.0.0.1:PORT``, while it runs.
        ca: PEM file that verifies the registry, with ``tls``.
        pid: of the process, while it runs.
    """

    def __init__(self, folder: Path, *, users: Mapping[str, str] | None = None, tls: bool = False) -> None:
        self.folder = folder
        self.users = dict(users or {})
        self.ca: Path | None = folder / "ca.pem" if tls else None
        self.address = ""
        self._process: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=200)
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Of the running process; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def log(self) -> str:
        """The last lines that the registry wrote."""
        return "\n".join(self._log)

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            NotFound: the program is not installed.
            MachineError, DeadlineExceeded: it ended at once, or does not answer.
        """
        if (problem := registry_problem()) is not None:
            raise NotFound(problem.reason, hint=problem.hint)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "config.json"  # JSON is YAML
        path.write_text(json.dumps(self._configuration()))
        argv = ["setpriv", "--pdeathsig=KILL", PROGRAM, "serve", str(path)]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._process = process
        found: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, args=(process, found), daemon=True)
        self._reader.start()
        try:
            self.address = f"127.0.0.1:{self._port(found)}"
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, by its process id. A repeat does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()
        if process.stderr is not None:
            process.stderr.close()

    def push(self, image: BuiltImage, repository: str, tag: str = "latest") -> str:
        """Upload an image or index with everything that it names; gives the reference by tag.

        Raises:
            Unreachable: the registry refused; the brief has its words.
        """
        for each in image.walk():
            for digest, blob in each.blobs.items():
                self._push_blob(repository, digest, blob)
            name = tag if each is image else str(each.digest)
            headers = {"Content-Type": each.media_type}
            self._request("PUT", f"/v2/{repository}/manifests/{name}", each.manifest, headers, expect=201)
        return f"{self.address}/{repository}:{tag}"

    def delete_blob(self, repository: str, digest: Digest) -> None:
        """Remove a blob, so that an image lacks it."""
        self._request("DELETE", f"/v2/{repository}/blobs/{digest}", b"", {}, expect=202)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        # in this thread, since the kernel ends the registry with the thread that started it
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _configuration(self) -> dict[str, object]:
        web: dict[str, object] = {"addr": "127.0.0.1:0"}
        found: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": web,
        }
        if self.users:
            path = self.folder / "htpasswd"
            path.write_text("".join(f"{name}:{bcrypt(password)}\n" for name, password in self.users.items()))
            found["auth"] = {"htpasswd": {"realm": "monocore-test", "path": str(path)}}
        if self.ca is not None:
            certificate, key = make_certificate(self.folder)
            web["tls"] = {"certificate": str(certificate), "key": str(key)}
        return found

    def _read(self, process: subprocess.Popen[str], found: Queue[str]) -> None:
        """Follow the log, so that the pipe never fills; tell the port, then "" at the end."""
        if process.stderr is not None:
            for line in process.stderr:
                self._log.append(line.rstrip()[:2000])
                if match := _LISTENING.search(line):
                    found.put(match[1])
        found.put("")

    def _port(self, found: Queue[str]) -> int:
        try:
            port = found.get(timeout=START_TIMEOUT)
        except Empty:
            raise DeadlineExceeded(f"{PROGRAM} does not answer after {START_TIMEOUT:g} s") from None
        if not port:
            raise MachineError(f"{PROGRAM} ended at once: {self.log[-500:]}")
        return int(port)

    def _push_blob(self, repository: str, digest: Digest, blob: Blob) -> None:
        status, _ = self._request("HEAD", f"/v2/{repository}/blobs/{digest}", b"", {}, expect=None)
        if status == 200:
            return
        _, headers = self._request("POST", f"/v2/{repository}/blobs/uploads/", b"", {}, expect=202)
        place = urlsplit(headers["location"])
        target = (
            f"{place.path}?{place.query}&digest={digest}" if place.query else f"{place.path}?digest={digest}"
        )
        sending = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with blob.open() as stream:
            self._request("PUT", target, stream, sending, expect=201)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO,
        headers: Mapping[str, str],
        *,
        expect: int | None,
    ) -> tuple[int, dict[str, str]]:
        connection = self._connect()
        try:
            sent = {**headers, **self._authorization()}
            connection.request(method, path, body if isinstance(body, bytes) else _blocks(body), sent)
            response = connection.getresponse()
            said = response.read(4096)
            if expect is not None and response.status != expect:
                words = said.decode(errors="replace")
                raise Unreachable(f"{method} {path} at {self.address}: {response.status} {words}")
            return response.status, {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self.ca is None:
            return http.client.HTTPConnection(self.address, timeout=REQUEST_TIMEOUT)
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection(self.address, timeout=REQUEST_TIMEOUT, context=context)

    def _authorization(self) -> dict[str, str]:
        for name, password in self.users.items():
            return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}
        return {}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and localhost (``ca.pem``) and its key, made by ``openssl``."""
    certificate, key = folder / "ca.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True, timeout=START_TIMEOUT)
    return certificate, key


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block
