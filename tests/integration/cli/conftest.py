"""One registry, one image and one home for every test of the command line; the command line itself as a subprocess."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ARGV = (sys.executable, "-m", "monocore_core")
#: Seconds for any one command line; far more than any needs, so that a hang ends.
LIMIT = 90.0

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="session")
def cli_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of every command line that does not say otherwise."""
    return tmp_path_factory.mktemp("cli") / "home"


@pytest.fixture(scope="session")
def start(cli_home: Path) -> Start:
    """Starts ``monocore WORDS…``: ``start("run", …, stdin=…, stdout=…)``, as for :class:`subprocess.Popen`."""

    def begin(
        *words: str,
        environ: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        env = {**os.environ, "MONOCORE_HOME": str(cli_home), "COLUMNS": "100", **(environ or {})}
        return subprocess.Popen([*ARGV, *words], env=env, stdin=stdin, stdout=stdout, stderr=stderr)

    return begin


@pytest.fixture(scope="session")
def monocore(start: Start) -> Run:
    """Runs ``monocore WORDS…`` to its end: status, output and error lines, as bytes."""

    def run(
        *words: str, stdin: bytes | None = None, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        with start(*words, environ=environ, stdin=source) as process:
            try:
                out, err = process.communicate(stdin, timeout=LIMIT)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a docker-registry on loopback."""
    yield from _registry(tmp_path_factory.mktemp("registry"), "")


@pytest.fixture(scope="session")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that wants a password, which nobody has."""
    folder = tmp_path_factory.mktemp("locked")
    yield from _registry(folder, f"auth: {{htpasswd: {{realm: test, path: '{folder}/htpasswd'}}}}\n")


@pytest.fixture(scope="session")
def served(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Reference of an image in the registry: busybox with all its applets, and root and one user in /etc/passwd."""
    skopeo, busybox = _need("skopeo"), _need("busybox")
    layout = tmp_path_factory.mktemp("layout")
    _write_layout(layout, Path(busybox))
    reference = f"{registry}/test/busybox:latest"
    argv = [skopeo, "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{reference}"]
    subprocess.run(argv, check=True, timeout=LIMIT)
    return reference


@pytest.fixture(scope="session")
def image(served: str, monocore: Run) -> str:
    """The same, pulled into the common home."""
    ended = monocore("pull", "-q", served)
    assert ended.returncode == 0, ended.stderr.decode()
    return served


def _registry(folder: Path, extra: str) -> Iterator[str]:
    program = _need("docker-registry")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/blobs'}}}}\nhttp: {{addr: '{address}'}}\n{extra}"
    )
    argv = [program, "serve", str(folder / "config.yml")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for_registry(address, process, folder / "log")
            yield address
        finally:
            process.terminate()


def _wait_for_registry(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection(address, timeout=1)
        try:
            connection.request("GET", "/v2/")
            connection.getresponse().read()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)  # a listening socket of another process cannot be awaited
        else:
            return
        finally:
            connection.close()


def _need(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"needs {program} (Debian packages docker-registry, skopeo, busybox-static)")
    return found


def _write_layout(folder: Path, busybox: Path) -> None:
    """An OCI image layout with one gzip layer, tagged ``latest``."""
    applets = subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, check=True, timeout=LIMIT
    ).stdout.split()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
            _add(archive, name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        _add(
            archive,
            "etc/passwd",
            tarfile.REGTYPE,
            0o644,
            b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n",
        )
        _add(archive, "etc/group", tarfile.REGTYPE, 0o644, b"root:x:0:\nuser:x:1000:\n")
        _add(archive, "bin/busybox", tarfile.REGTYPE, 0o755, busybox.read_bytes())
        for applet in applets:
            if applet != "busybox":
                _add(archive, f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
    layer = _blob(folder, gzip.compress(tar.getvalue(), 6, mtime=0), "layer.v1.tar+gzip")
    diff_id = f"sha256:{hashlib.sha256(tar.getvalue()).hexdigest()}"
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    config = _blob(folder, json.dumps(document).encode(), "config.v1+json")
    manifest = _blob(
        folder,
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": [layer],
            }
        ).encode(),
        "manifest.v1+json",
    )
    tagged = {**manifest, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [tagged]}))


def _add(
    archive: tarfile.TarFile, name: str, kind: bytes, mode: int, data: bytes = b"", *, link: str = ""
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
    archive.addfile(info, io.BytesIO(data))


def _blob(folder: Path, data: bytes, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    path = folder / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}
