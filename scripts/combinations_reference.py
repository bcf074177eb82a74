"""Write ``docs/combinations.md`` from what the installed backends promise: ``python -m scripts.combinations_reference``."""

from __future__ import annotations

from pathlib import Path

from monocore_core.model.oci import Platform
from monocore_core.plan.fit import Offer, Wishes
from monocore_core.plan.matrix import Combination, combinations
from monocore_core.plugins import discover

TARGET = Path(__file__).parents[1] / "docs" / "combinations.md"

INTRODUCTION = """\
# Combinations

Which layer merger goes with which VMM, by what the backends of this repository promise; written by `make reference`. What of it works on
one host is the answer of `monocore plan --all IMAGE`. `tests/integration/test_combinations.py` runs one image with one
command through every "yes" that the host, or the nested lane (`make test-kvm`), can run, and expects a readable refusal of the others.

"""


def pairs() -> tuple[Combination, ...]:
    """Every pair of installed backends, as if the host had everything."""
    offers = tuple(
        Offer(
            backend.interface,
            backend.name,
            backend.provider.rank,
            backend.provider.capabilities,  # type: ignore[attr-defined]  # every subclass has it
        )
        for backend in discover().backends
    )
    return combinations(offers, {}, Wishes({}, Platform.host().architecture))


def text() -> str:
    """The whole page."""
    found = pairs()
    mergers = list(dict.fromkeys(pair.layer_merger for pair in found))
    vmms = list(dict.fromkeys(pair.vmm for pair in found))
    cells = {(pair.layer_merger, pair.vmm): pair.reason or "yes" for pair in found}
    rows = [f"| `{merger}` | " + " | ".join(cells[merger, vmm] for vmm in vmms) + " |" for merger in mergers]
    head = "| layer merger | " + " | ".join(f"`{vmm}`" for vmm in vmms) + " |"
    return INTRODUCTION + "\n".join([head, "|" + "---|" * (len(vmms) + 1), *rows]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
