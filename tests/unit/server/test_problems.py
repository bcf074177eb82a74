"""Every error that monocore knows has a status, and its words are told; nobody else's are."""

import inspect

import pytest

from monocore_core import errors
from monocore_core.client.api import problem
from monocore_core.server.problems import problem_of

KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.MonocoreError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_of_ours_is_told(kind: type[errors.MonocoreError]) -> None:
    found = problem_of(kind("it is so", hint="do that"))
    assert found["title"] == kind.__name__
    assert (found["detail"], found["hint"]) == ("it is so", "do that")
    assert isinstance(found["status"], int)
    assert 400 <= found["status"] < 600


def test_types_are_urns_in_the_words_of_the_class() -> None:
    assert problem_of(errors.NotFound("x"))["type"] == "urn:monocore:not-found"
    assert problem_of(errors.CommandNotFound("x"))["status"] == 404
    assert problem_of(errors.Conflict("x"))["status"] == 409
    assert "hint" not in problem_of(errors.Conflict("x"))


def test_problems_of_a_configuration_are_listed() -> None:
    found = problem_of(errors.ConfigError("2 problems", problems=("a", "b")))
    assert (found["status"], found["problems"]) == (400, ["a", "b"])


def test_nobody_elses_words_are_told() -> None:
    found = problem_of(ValueError("a secret"))
    assert found["status"] == 500
    assert "secret" not in str(found)


def test_of_backends_that_do_not_fit_each_reason_reaches_the_client() -> None:
    error = errors.NothingFits("no VMM can be used here", reasons=("a: no", "b: neither"), hint="look")
    told = problem(problem_of(error))
    assert isinstance(told, errors.NothingFits)
    assert (told.brief, told.reasons, told.hint) == (error.brief, error.reasons, "look")
