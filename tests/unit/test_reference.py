"""Image references: what Docker understands, understood the same, and everything else refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import InvalidInput
from monocore_core.model.digest import Digest
from monocore_core.reference import Reference, parse_reference

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("library/oci", "docker.io/library/oci:latest", "library/oci:latest"),
        ("rootfs:1", "docker.io/library/rootfs:1", "library/rootfs:1"),
        ("owner/name", "docker.io/owner/name:latest", "owner/name:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("ghcr.io/alpine", "ghcr.io/alpine:latest", "ghcr.io/alpine:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("host:5000/x:y", "host:5000/x:y", "host:5000/x:y"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("[2001:db8::1]/x", "[2001:db8::1]/x:latest", "[2001:db8::1]/x:latest"),
        ("Registry.Example/x", "Registry.Example/x:latest", "Registry.Example/x:latest"),
        ("docker.io/foo.bar/x", "docker.io/foo.bar/x:latest", "docker.io/foo.bar/x:latest"),
        ("docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest"),
        (f"x@{DIGEST}", f"docker.io/library/x@{DIGEST}", f"x@{DIGEST}"),
        (f"x:1@{DIGEST}", f"docker.io/library/x:1@{DIGEST}", f"x:1@{DIGEST}"),
        ("a__b.c-d---e_f", "docker.io/library/a__b.c-d---e_f:latest", "a__b.c-d---e_f:latest"),
        ("x:_T-a.G", "docker.io/library/x:_T-a.G", "x:_T-a.G"),
        ("a" * 64 + ":1", f"docker.io/library/{'a' * 64}:1", "a" * 64 + ":1"),
    ],
)
def test_normalisation(text: str, canonical: str, familiar: str) -> None:
    found = parse_reference(text)
    assert str(found) == canonical
    assert found.familiar == familiar
    assert parse_reference(canonical) == parse_reference(familiar) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("Alpine", "lower case"),
        ("ghcr.io/Owner/name", "lower case"),
        ("a" * 64, "image id"),
        ("https://ghcr.io/a/b", "'https:'"),
        (" alpine", "blanks"),
        ("alpine\n", "blanks"),
        ("al\x00pine", "not allowed"),
        ("al pine", "'al pine'"),
        ("alpine:", "not a tag"),
        ("alpine:" + "t" * 129, "not a tag"),
        ("alpine:-t", "not a tag"),
        ("/alpine", "empty part"),
        ("a//b", "empty part"),
        ("a/b/", "empty part"),
        ("ghcr.io/", "empty part"),
        ("a___b", "'a___b'"),
        ("a..b", "'a..b'"),
        ("-a", "'-a'"),
        ("a/_b", "'_b'"),
        ("é", "'é'"),
        ("a:b:c", "'b:c'"),
        ("ho_st.de/x", "registry host"),
        ("[::1/x", "registry host"),
        ("[fe80::1%eth0]/x", "registry host"),
        ("host:/x", "registry host"),
        ("host:0/x", "port"),
        ("host:65536/x", "port"),
        ("host:" + "9" * 500 + "/x", "registry host"),
        ("a/" * 127 + "bc", "at most 255"),
        ("a" * 4097, "too long"),
        ("x@", "digest"),
        ("x@sha256:abc", "sha256:abc"),
        ("x@md5:" + "a" * 32, "md5"),
        (f"x@{DIGEST.upper()}", "SHA256"),
        (f"x@{DIGEST}@{DIGEST}", "digest"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)
    assert problem in caught.value.brief
    assert len(caught.value.brief) < 500
    assert caught.value.brief.isprintable()


def test_a_url_is_answered_with_what_to_leave_out() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference("https://ghcr.io/a/b")
    assert caught.value.hint == "leave out everything up to '://'"


def test_bounds_are_inclusive() -> None:
    longest = parse_reference("ghcr.io/" + "a/" * 123 + "b")
    assert len(longest.name) == 255
    assert len(parse_reference("x:" + "t" * 128).tag) == 128
    assert parse_reference("host:65535/x").domain == "host:65535"


def test_schemes_keep_the_rest_verbatim() -> None:
    schemes = frozenset({"oci-archive"})
    found = parse_reference("oci-archive:/Some Path/x.tar:Tag@é", schemes=schemes)
    assert found == Reference("", "/Some Path/x.tar:Tag@é", scheme="oci-archive")
    assert str(found) == found.familiar == "oci-archive:/Some Path/x.tar:Tag@é"
    assert parse_reference("oci-archive:tag").path == "library/oci-archive"


@pytest.mark.parametrize("rest", ["", "a\0b", "a" * 4093])
def test_schemes_have_bounds(rest: str) -> None:
    with pytest.raises(InvalidInput):
        parse_reference(f"dir:{rest}", schemes=frozenset({"dir"}))


def test_pinning() -> None:
    digest = Digest.parse(DIGEST)
    assert str(parse_reference("x:1").with_digest(digest)) == f"docker.io/library/x:1@{DIGEST}"


_PART = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_HOST = st.one_of(
    st.just("docker.io"),
    st.from_regex(r"localhost(:[1-9][0-9]{0,3})?", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,5}(-[A-Z]{1,3})?(\.[a-z]{2,4}){1,2}(:[1-9][0-9]{0,3})?", fullmatch=True),
    st.from_regex(r"\[[0-9a-fA-F:]{2,20}\](:[1-9][0-9]{0,3})?", fullmatch=True),
).filter(lambda host: host != "index.docker.io")
_TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    domain, path = draw(_HOST), "/".join(draw(st.lists(_PART, min_size=1, max_size=4)))
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    digest = draw(st.none() | st.binary(max_size=4).map(Digest.of))
    tag = draw(_TAG if digest is None else st.just("") | _TAG)
    return Reference(domain, path, tag, digest)


@given(references())
def test_what_is_written_is_read_back(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=40) | st.text("aA0./:@[]_-%", max_size=30))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = parse_reference(text)
    except InvalidInput:
        return
    assert parse_reference(str(found)) == parse_reference(found.familiar) == found
