"""What every test of the workspace gets: an environment of its own, reasons to be skipped, and an inspection at the end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

#: Marks the processes that a session starts: they inherit it.
SESSION_VARIABLE = "MONOCORE_TEST_SESSION"
#: When set, a missing program fails its tests instead of skipping them.
STRICT_VARIABLE = "MONOCORE_TEST_STRICT"
#: Multiplies every limit of time below: for machines that are slow by nature, as an emulated one is.
PATIENCE_VARIABLE = "MONOCORE_TEST_PATIENCE"
#: Seconds that processes get, after the last test, to finish ending.
GRACE = 5.0
#: Seconds that the set-up, the call or the tear-down of one test may take; more where it is marked ``slow``.
LIMIT, SLOW_LIMIT = 120.0, 600.0
#: Files that take minutes: begun first where each core takes files in turn, so that none of them is what everybody waits for at the end.
LONGEST = (
    "tests/conformance/test_vmm_fakes.py",
    "tests/integration/test_guest_vm.py",
    "tests/integration/network/test_matrix.py",
    "tests/unit/test_scaffold.py",
    "tests/integration/orchestrator/test_crashes.py",
)
#: What a reason to be skipped says of something that ``make setup`` installs.
_INSTALLABLE = re.compile(r"not installed|needs \S+ \((Debian|apt-get|pip)")


def pytest_configure() -> None:
    """Let our processes have the signals that whoever started us ignores, as nohup and background jobs do."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take minutes first, and skip, with the reason, what this machine cannot run."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
    kvm = _kvm_problem()
    for item in items:
        for reason in _reasons(item, kvm):
            item.add_marker(pytest.mark.skip(reason=reason))


@contextmanager
def _limited(item: pytest.Item, phase: str) -> Generator[None]:
    """Fail a phase of a test that hangs, wherever its main thread waits, so that the rest is run."""
    limit = (SLOW_LIMIT if item.get_closest_marker("slow") else LIMIT) * _patience()

    def give_up(number: int, frame: FrameType | None) -> None:
        del number, frame
        pytest.fail(f"{phase} of {item.nodeid} took longer than {limit:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _patience() -> float:
    return max(1.0, float(os.environ.get(PATIENCE_VARIABLE, "1")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Fail a test whose program is missing where that is promised not to happen, or whose set-up hangs."""
    with _limited(item, "set-up"):
        _require(item)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test that hangs."""
    with _limited(item, "call"):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fail a tear-down that hangs."""
    with _limited(item, "tear-down"):
        yield


def _require(item: pytest.Item) -> None:
    if os.environ.get(STRICT_VARIABLE):
        for mark in item.iter_markers("needs"):
            if reason := _missing(mark):
                pytest.fail(f"{reason}, and {STRICT_VARIABLE} is set")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be missing, a test that skips itself since a program is not installed has failed."""
    report = yield
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and _INSTALLABLE.search(reason) and os.environ.get(STRICT_VARIABLE):
        report.outcome, report.longrepr = "failed", f"{item.nodeid}: {reason}, and {STRICT_VARIABLE} is set"
    return report


def _reasons(item: pytest.Item, kvm: str | None) -> Iterator[str]:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        yield "needs root"
    if kvm and item.get_closest_marker("kvm"):
        yield kvm
    if not os.environ.get(STRICT_VARIABLE):
        for mark in item.iter_markers("needs"):
            if reason := _missing(mark):
                yield reason


def _missing(mark: pytest.Mark) -> str | None:
    program, package = (str(word) for word in mark.args)
    if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return None
    return f"needs {program} (Debian package {package})"


def _kvm_problem() -> str | None:
    """Why KVM cannot run an ordinary guest here. That the device opens proves nothing: ``kvm_pvm`` opens it, too."""
    if not any(Path("/sys/module", module).is_dir() for module in ("kvm_amd", "kvm_intel")):
        return "needs KVM with hardware virtualisation (kvm_intel or kvm_amd is not loaded)"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "needs /dev/kvm, which this user may not open"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests recorded, whether or not they passed: what a test prints is seen only when it fails."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                for title, text in report.user_properties:
                    terminalreporter.section(title)
                    terminalreporter.write_line(str(text))


@pytest.fixture(scope="session", autouse=True)
def inspected_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the session off the user's files, and fail it when a process, mount or loop device of it remains."""
    base = tmp_path_factory.getbasetemp()
    home = tmp_path_factory.mktemp("home")
    token = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        kept = {STRICT_VARIABLE, PATIENCE_VARIABLE, "MONOCORE_TEST_PASTA"}
        for name in [name for name in os.environ if name.startswith("MONOCORE_") and name not in kept]:
            patch.delenv(name)
        patch.setenv(SESSION_VARIABLE, token)
        patch.setenv("MONOCORE_HOME", str(home / "monocore"))
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        _write_defaults(home / "config/monocore/monocore.toml")
        patch.setenv("DOCKER_CONFIG", str(home / "docker"))
        patch.setenv("MONOCORE_DAEMON", "never")  # a test that wants one begins it, and ends it
        yield
    left = _wait_until_empty(lambda: _processes(token, base))
    left += [f"mount {target}" for target in _mounts(base)]
    left += [f"loop device {device} of {file}" for device, file in _loops(base).items()]
    if left:
        pytest.fail("the tests left behind:\n  " + "\n  ".join(left), pytrace=False)


def _write_defaults(file: Path) -> None:
    """No spare machines, but where a test asks for them: each daemon's would take the processor from other tests."""
    file.parent.mkdir(parents=True)
    file.write_text("[pool]\nsize = 0\n")
    file.chmod(0o600)


def _wait_until_empty(look: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + GRACE * _patience()
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)  # other processes' ends cannot be awaited but by looking again
    return found


def _processes(token: str, base: Path) -> list[str]:
    """Living processes of this session, ours excepted, by what they inherited; one in a jail inherits nothing, and has files of ``base`` open."""
    wanted = f"{SESSION_VARIABLE}={token}".encode()
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            ours = wanted in environment.split(b"\0") or (not environment and _uses(folder, base))
            if int(folder.name) != os.getpid() and ours:
                words = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                )
                found.append(f"process {folder.name}: {words[:200]}")
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def _uses(folder: Path, base: Path) -> bool:
    """Whether a process has a file below ``base`` open."""
    return any(str(link.readlink()).startswith(f"{base}/") for link in (folder / "fd").iterdir())


def _mounts(base: Path) -> list[str]:
    """Mount points in ``base`` in our mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    targets = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [target for target in targets if target.startswith(f"{base}/")]


def _loops(base: Path) -> Mapping[str, str]:
    """Loop devices whose file is in ``base``, by name."""
    found: dict[str, str] = {}
    for link in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            file = link.read_text().strip()
        except OSError:  # detached meanwhile
            continue
        if file.startswith(f"{base}/"):
            found[link.parents[1].name] = file
    return found
