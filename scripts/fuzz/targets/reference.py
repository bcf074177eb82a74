"""Image references, which are read from images' names, orders and configurations."""

from __future__ import annotations

from collections.abc import Iterator

from monocore_core.reference import MAX_NAME, parse_reference
from scripts.fuzz.target import Target, refusals

_SCHEMES = frozenset({"oci", "docker-archive"})


def run(data: bytes) -> None:
    """The text. What is accepted reads the same when it is written."""
    text = data.decode("utf-8", "replace")
    with refusals():
        found = parse_reference(text, schemes=_SCHEMES)
        assert parse_reference(str(found), schemes=_SCHEMES) == found
        if not found.scheme:
            assert parse_reference(found.familiar, schemes=_SCHEMES) == found
            assert len(found.name) <= MAX_NAME
            assert str(found).isascii()
            assert ".." not in found.path.split("/")


def seeds() -> Iterator[bytes]:
    """Short and long, right and wrong."""
    digest = "sha256:" + "0a" * 32
    for text in (
        "",
        " alpine",
        "alpine",
        "alpine:3.20",
        "a/b",
        f"ghcr.io/org/name:tag@{digest}",
        f"name@{digest}",
        "localhost:5000/a/b:tag",
        f"[::1]:5000/x@{digest}",
        "index.docker.io/x",
        "docker.io/library/a",
        "Alpine",
        "a//b",
        "a:-",
        "a@sha256:1",
        "a@md5:" + "0" * 32,
        "0a" * 32,
        "http://x/y",
        "x.y:99999/z",
        "[x/y",
        "library/localhost",
        "library/a.b",
        "a/" * 140 + "b",
        "oci:/some/folder:tag",
        "oci:",
        "oci:\0",
        "a_b__c---d.e",
        "A/b",
        "x" * 4200,
        "docker.io/localhost/x",
        "docker.io/library/a.b/c",
    ):
        yield text.encode()


TARGET = Target(
    "reference",
    "image references",
    run,
    seeds,
    ("monocore_core.reference", "monocore_core.model.digest"),
    longest=4300,
)
