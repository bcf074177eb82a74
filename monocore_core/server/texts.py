"""Bytes of programs in JSON: as text where they are UTF-8, else in base64. Pure."""

from __future__ import annotations

import base64
import codecs


def text_or_base64(data: bytes, name: str) -> dict[str, str]:
    """``{name: text}``, or ``{name_base64: …}`` for what is not UTF-8."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


class TextPieces:
    """Output piece by piece: characters that a piece cuts wait for their rest, so that only what is no text becomes base64."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> dict[str, str]:
        """What can be told by now: ``{"data": text}`` or ``{"base64": …}``, or nothing."""
        data, self._rest = self._rest + data, b""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            text = decoder.decode(data)
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode()}
        self._rest = decoder.getstate()[0]
        return {"data": text} if text else {}

    def finish(self) -> dict[str, str]:
        """What still waits: a character that was never whole."""
        data, self._rest = self._rest, b""
        return {"base64": base64.b64encode(data).decode()} if data else {}
