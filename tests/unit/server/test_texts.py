"""Output in JSON: nothing is lost, and only what is no text is base64."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from monocore_core.server.texts import TextPieces, text_or_base64


def bytes_of(told: dict[str, str]) -> bytes:
    return told["data"].encode() if "data" in told else base64.b64decode(told.get("base64", ""))


def test_text_is_text_and_bytes_are_base64() -> None:
    assert text_or_base64("é".encode(), "stdout") == {"stdout": "é"}
    assert text_or_base64(b"\xff", "stdout") == {"stdout_base64": "/w=="}


@given(st.text(max_size=40), st.integers(1, 5))
def test_text_stays_text_however_it_is_cut(text: str, size: int) -> None:
    data, pieces = text.encode(), TextPieces()
    told = [pieces.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert pieces.finish() == {}
    assert "".join(one.get("data", "") for one in told) == text
    assert not any("base64" in one for one in told)


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_no_byte_is_lost(cut: list[bytes]) -> None:
    pieces = TextPieces()
    told = [*(pieces.feed(one) for one in cut), pieces.finish()]
    assert b"".join(map(bytes_of, told)) == b"".join(cut)
