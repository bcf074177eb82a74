"""How one value is written in a file or a request: what reads it, and its JSON Schema. A type names its form by ``Annotated``.

::

    Duration = Annotated[float, Form("a duration", read_duration, {"anyOf": [...]}, "`90s`, or seconds")]

:mod:`monocore_core.schema` writes a form's schema where the type stands; ``monocore_core.config.read`` calls its parser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen

#: Key of an attribute's metadata: a tuple of other names that a key may have.
ALIASES = "aliases"
#: Plain data, as JSON has it.
Json = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None


@frozen(eq=False)  # a form is itself: unions of types hash what they hold
class Form:
    """One way of writing.

    Attributes:
        noun: for messages, with its article: ``a size``.
        parse: from plain data (text, number, truth value) to the value; raises InvalidInput.
        schema: JSON Schema of what may be written; it may let more pass than ``parse`` does, never less.
        written: for tables of keys, in Markdown.
    """

    noun: str
    parse: Callable[[object], object] = field(repr=False)
    schema: Mapping[str, Json] = field(repr=False)
    written: str
