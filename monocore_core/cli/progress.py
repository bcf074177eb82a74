"""A pull as it goes: bars on a terminal, a line for each thing done in a pipe, nothing when quiet. Always on standard error."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import Protocol, Self

from monocore_core.cli.failures import clean, warn
from monocore_core.cli.terminal import STDERR, is_terminal
from monocore_core.model.events import (
    Began,
    Denied,
    Event,
    LayerDone,
    LayerProgress,
    Published,
    Resolved,
    Retrying,
    Stage,
    Waiting,
    Warned,
)


class View(Protocol):
    """How progress is shown."""

    def begin(self, event: Resolved) -> None:
        """A pull begins."""
        ...

    def progress(self, event: LayerProgress) -> None:
        """More of a layer is here."""
        ...

    def done(self, event: LayerDone) -> None:
        """A layer is in the store."""
        ...

    def say(self, text: str) -> None:
        """Show a line."""
        ...

    def close(self) -> None:
        """Stop drawing."""
        ...


class PullProgress:
    """Context manager and event listener.

    Args:
        quiet: show warnings only.
        intro: printed before the first pull, e.g. that an image is not in the store.
        stages: also print the stages of a sandbox's start, with their times.
        verb: what is done with an image.
    """

    def __init__(
        self, *, quiet: bool = False, intro: str = "", stages: bool = False, verb: str = "Pulling"
    ) -> None:
        self._quiet = quiet
        self._intro = intro
        self._stages = stages
        self._verb = verb
        self._view: View | None = None
        self._pulled: Resolved | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the screen tidy. A repeat does nothing."""
        view, self._view = self._view, None
        if view is not None:
            view.close()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Stage):
            self._stage(event)
        elif isinstance(event, Published):
            self._published(event)
        elif isinstance(event, Warned):
            self._close_and_warn(event.text)
        elif isinstance(event, Denied):
            self._denied(event)
        elif isinstance(event, Began):
            self._began(event)
        elif not self._quiet:
            self._show(event)

    def finished(self) -> None:
        """Everything is in the store: say which image it is, when anything was pulled."""
        resolved, self._pulled = self._pulled, None
        self.close()
        if resolved is None or self._quiet:
            return
        what = "Image is up to date" if resolved.known else "Downloaded newer image"
        _line(f"Digest: {resolved.digest}")
        _line(f"Status: {what} for {resolved.reference}")

    def _stage(self, event: Stage) -> None:
        if event.name != "plan":
            self.finished()
        if self._stages:
            _line(f"{event.seconds * 1000:8.1f} ms  {event.name} (+{event.took * 1000:.1f})")

    def _began(self, event: Began) -> None:
        if self._stages:
            how = "is a copy of a template" if event.copied else f"boots: {clean(event.reason)}"
            how = "comes from the pool" if event.spare else how
            _line(f"             the machine {how}")

    def _published(self, event: Published) -> None:
        if not self._quiet:
            _line(f"Published {clean(', '.join(event.ports))}")

    def _denied(self, event: Denied) -> None:
        """The screen is the program's that runs in the sandbox: said only to who asked for details."""
        if self._stages:
            what = event.refusal
            port = f" port {what.port}" if what.port else ""
            _line(f"Denied {clean(f'{what.protocol} to {what.destination}{port}')} ({clean(what.rule)})")

    def _close_and_warn(self, text: str) -> None:
        if self._view is not None:
            self._view.say(f"monocore: warning: {clean(text)}")
        else:
            warn(f"warning: {text}")

    def _show(self, event: Resolved | LayerProgress | LayerDone | Retrying | Waiting) -> None:
        if isinstance(event, Resolved):
            self._begin(event)
        view = self._view
        if view is None:
            view = self._view = _PlainView()
        if isinstance(event, LayerProgress):
            view.progress(event)
        elif isinstance(event, LayerDone):
            view.done(event)
        elif isinstance(event, Retrying):
            view.say(f"{clean(event.what)}: {clean(event.reason)}; trying again in {event.delay:.1f} s")
        elif isinstance(event, Waiting):
            view.say(f"{clean(event.what)}: waiting for another process that does the same")

    def _begin(self, event: Resolved) -> None:
        if self._intro:
            _line(self._intro)
            self._intro = ""
        _line(f"{self._verb} {event.reference}")
        self.close()
        self._pulled = event
        self._view = _bars() if is_terminal(STDERR) else _PlainView()
        self._view.begin(event)


class _PlainView:
    """A line for each layer, when it is there."""

    def begin(self, event: Resolved) -> None:
        del event

    def progress(self, event: LayerProgress) -> None:
        del event

    def done(self, event: LayerDone) -> None:
        _line(f"{event.digest.short}: {'Already exists' if event.existed else 'Pull complete'}")

    def say(self, text: str) -> None:
        _line(text)

    def close(self) -> None:
        pass


def _bars() -> View:
    from monocore_core.cli.bars import Bars  # rich, only when there is a terminal and something to pull

    return Bars()


def _line(text: str) -> None:
    with contextlib.suppress(OSError):
        print(clean(text), file=sys.stderr, flush=True)
