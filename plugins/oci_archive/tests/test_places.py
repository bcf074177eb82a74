"""What stands behind a scheme."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monocore_oci_archive.places import Place, same_name, split_place

THERE = {"/a.tar", "/b:c.tar", "/b", "/d/e"}


@pytest.mark.parametrize(
    ("text", "path", "wanted"),
    [
        ("/a.tar", "/a.tar", ""),
        ("/a.tar:alpine:3.20", "/a.tar", "alpine:3.20"),
        ("/a.tar:localhost:5000/x:y", "/a.tar", "localhost:5000/x:y"),
        ("/a.tar:", "/a.tar", ""),
        ("/b:c.tar", "/b:c.tar", ""),
        ("/b:c.tar:x", "/b", "c.tar:x"),
        ("/d/e:@3", "/d/e", "@3"),
        ("/missing:x:y", "/missing", "x:y"),
        ("/missing", "/missing", ""),
    ],
)
def test_paths_and_names(text: str, path: str, wanted: str) -> None:
    assert split_place(text, THERE.__contains__) == Place(path, wanted)


@given(st.text(alphabet="ab:/@0", min_size=1), st.sets(st.text(alphabet="ab:/", max_size=4)))
def test_nothing_is_lost(text: str, there: set[str]) -> None:
    place = split_place(text, there.__contains__)
    assert text in {place.path, f"{place.path}:{place.wanted}"}


@pytest.mark.parametrize(
    ("wanted", "number"), [("@0", 0), ("@12", 12), ("@", None), ("@x", None), ("1", None), ("@1234567", None)]
)
def test_numbers(wanted: str, number: int | None) -> None:
    assert Place("/a", wanted).number == number


def test_names() -> None:
    assert same_name("alpine", "docker.io/library/alpine:latest")
    assert same_name("Not A Name", "Not A Name")
    assert same_name("1.0", "1.0")
    assert not same_name("alpine", "alpine:3")
    assert not same_name("UPPER", "upper")
