import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.config.interpolate import escape, fill_in
from monocore_core.errors import InvalidInput

ENVIRON = {"A": "one", "EMPTY": "", "NESTED": "${A}"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO-d}", "d"),
        ("${NO:-}", ""),
        ("${NO:-a b:c?d}", "a b:c?d"),
        ("${A:?needed}", "one"),
        ("${NESTED}", "${A}"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$A $HOME $1 $", "$A $HOME $1 $"),
        ("echo $(date)", "echo $(date)"),
    ],
)
def test_variables_are_filled_in(text: str, filled: str) -> None:
    assert fill_in(text, ENVIRON) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO}", "variable NO is not set: set it, or write ${NO:-text} for a default"),
        ("${EMPTY:?}", "variable EMPTY is not set: set it, or write ${EMPTY:-text} for a default"),
        ("${EMPTY:?give it}", "variable EMPTY: give it"),
        ("${NO?}", "variable NO is not set: set it, or write ${NO:-text} for a default"),
        ("${}", "'${}' is not a variable: write ${NAME} or ${NAME:-text}, and $$ for a dollar"),
        ("${1}", "'${1}' is not a variable: write ${NAME} or ${NAME:-text}, and $$ for a dollar"),
        ("a ${A", "'${A' is not a variable: write ${NAME} or ${NAME:-text}, and $$ for a dollar"),
        ("${A B}", "'${A B}' is not a variable: write ${NAME} or ${NAME:-text}, and $$ for a dollar"),
    ],
)
def test_what_cannot_be_filled_in_is_told(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        fill_in(text, ENVIRON)
    assert caught.value.brief == message


@given(st.text(st.sampled_from("${}Aa:- "), max_size=20))
def test_an_escaped_text_is_itself_again(text: str) -> None:
    assert fill_in(escape(text), {}) == text
