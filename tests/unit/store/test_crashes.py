"""The store against a model, with a process that dies between any two steps: whatever is visible afterwards is whole."""

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monocore_core.errors import Conflict, NotFound
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference
from monocore_core.store import Limits, Store
from monocore_core.testing.memory import MemorySource, memory_image

AMD64 = Platform("linux", "amd64")
NAMES = [Reference("docker.io", "library/test", tag) for tag in ("a", "b")]
LAYERS = [bytes([65 + number]) * 70_000 for number in range(4)]
IMAGES = [
    memory_image([LAYERS[0]]),
    memory_image([LAYERS[0], LAYERS[1]]),
    memory_image([LAYERS[0], LAYERS[2], LAYERS[3]]),
]
CHUNK = 100
DIED = 9

Action = Callable[[Store, MemorySource], None]


def pull(name: Reference, image: int) -> Action:
    """Pull one of the images under a name."""

    def act(store: Store, source: MemorySource) -> None:
        source.add(name, IMAGES[image])
        asyncio.run(store.pull(source, name, AMD64, limits=Limits(parallel=2)))

    return act


def remove(name: Reference, *, force: bool) -> Action:
    """Take a name away, if an image has it."""

    def act(store: Store, source: MemorySource) -> None:
        del source
        with suppress(NotFound, Conflict):
            store.remove_image(name, force=force)

    return act


def prune(*, everything: bool) -> Action:
    """Collect garbage."""

    def act(store: Store, source: MemorySource) -> None:
        del source
        store.prune(all_unused=everything)

    return act


def dies(home: Path, action: Action, step: int) -> bool:
    """Do it in a process that ends without any clean-up at its ``step``-th step; gives whether it got there."""
    child = os.fork()
    if child == 0:
        steps = count()

        def checkpoint(name: str) -> None:
            del name
            if next(steps) == step:
                os._exit(DIED)

        async def hook(digest: Digest, offset: int) -> None:
            del offset
            checkpoint(str(digest))

        try:
            with Store.open(home, checkpoint=checkpoint) as store:
                action(store, MemorySource(hook=hook, chunk=CHUNK))
        except BaseException:  # noqa: BLE001 - the parent is told by the status
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, DIED}
    return status == DIED


def check(store: Store) -> None:
    """Everything visible is whole, and nothing lies about that should not."""
    for image in store.images():
        for layer in image.layers:
            assert hashlib.sha256(layer.path.read_bytes()).hexdigest() == layer.diff_id.hex
        assert image.digest in {each.digest for each in IMAGES}
    rows = store.database.query("SELECT diff_id, size FROM layers")
    for diff_id, size in rows:
        path = store.layout.layer(Digest.parse(str(diff_id)))
        assert path.stat().st_size == size
    assert store.database.query("PRAGMA integrity_check") == [("ok",)]
    assert not list(store.layout.temporaries.iterdir())
    assert not store.database.query("SELECT key FROM leases WHERE key LIKE 'pull:%'")


class StoreMachine(RuleBasedStateMachine):
    """``means`` is what each name means; a death leaves the meaning of before or of after."""

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self.means: dict[Reference, Digest] = {}
        self.leased: int | None = None

    def teardown(self) -> None:
        if hasattr(self, "home"):
            shutil.rmtree(self.home)

    def meaning(self) -> dict[Reference, Digest]:
        with Store.open(self.home) as store:
            found = {name: store.find_image(name, AMD64) for name in NAMES}
        return {name: image.digest for name, image in found.items() if image is not None}

    def after(self, action: tuple[str, Reference | None, int]) -> dict[Reference, Digest]:
        """What the names mean when the action is complete."""
        kind, name, image = action
        means = dict(self.means)
        held = None if self.leased is None else IMAGES[self.leased].digest
        if kind == "pull" and name is not None:
            means[name] = IMAGES[image].digest
        elif kind == "remove" and name in means:
            last = list(means.values()).count(means[name]) == 1
            if image or not (last and means[name] == held):
                del means[name]
        elif kind == "prune" and image:
            means = {name: digest for name, digest in means.items() if digest == held}
        return means

    @staticmethod
    def action(action: tuple[str, Reference | None, int]) -> Action:
        kind, name, image = action
        if kind == "prune" or name is None:
            return prune(everything=bool(image))
        return pull(name, image) if kind == "pull" else remove(name, force=bool(image))

    actions = st.one_of(
        st.tuples(st.just("pull"), st.sampled_from(NAMES), st.integers(0, len(IMAGES) - 1)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES), st.integers(0, 1)),
        st.tuples(st.just("prune"), st.none(), st.integers(0, 1)),
    )

    @rule(action=actions)
    def complete(self, action: tuple[str, Reference | None, int]) -> None:
        with Store.open(self.home) as store:
            self.action(action)(store, MemorySource(chunk=CHUNK))
        self.means = self.after(action)
        assert self.meaning() == self.means

    @rule(action=actions, step=st.integers(0, 30))
    def die(self, action: tuple[str, Reference | None, int], step: int) -> None:
        after = self.after(action)
        if not dies(self.home, self.action(action), step):
            self.means = after
        meaning = self.meaning()
        assert meaning in (self.means, after)
        self.means = meaning

    @precondition(lambda self: self.leased is None)
    @rule(image=st.integers(0, len(IMAGES) - 1))
    def hold(self, image: int) -> None:
        with Store.open(self.home) as store:
            found = [each for each in store.images() if each.digest == IMAGES[image].digest]
            if found:
                store.begin_lease(found[0], "box", persistent=True)
                self.leased = image

    @precondition(lambda self: self.leased is not None)
    @rule()
    def let_go(self) -> None:
        with Store.open(self.home) as store:
            store.end_lease("box")
        self.leased = None

    @invariant()
    def whole(self) -> None:
        if not hasattr(self, "home"):
            return
        with Store.open(self.home) as store:
            check(store)
            if self.leased is not None:
                assert all(store.layout.layer(each).exists() for each in IMAGES[self.leased].diff_ids)


TestStoreMachine = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")(StoreMachine.TestCase)
TestStoreMachine.settings = settings(
    max_examples=60, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_pull_that_dies_at_each_step_is_completed_by_the_next(tmp_path: Path) -> None:
    deaths = 0
    for step in range(200):
        home = tmp_path / str(step)
        died = dies(home, pull(NAMES[0], 2), step)
        deaths += died
        with Store.open(home) as store:
            check(store)
            found = store.find_image(NAMES[0], AMD64)
            assert found is None or found.digest == IMAGES[2].digest
            if not died:
                assert found is not None
            source = MemorySource(chunk=CHUNK)
            source.add(NAMES[0], IMAGES[2])
            again = asyncio.run(store.pull(source, NAMES[0], AMD64))
            assert again.digest == IMAGES[2].digest
            check(store)
            assert store.prune()[1].layers == 0
        shutil.rmtree(home)
        if not died:
            break
    assert deaths > 12  # layers have three steps each behind their chunks, the image two
