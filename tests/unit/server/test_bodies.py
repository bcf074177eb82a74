"""Bodies of requests as values."""

import pytest
from aiohttp.test_utils import make_mocked_request

from monocore_core.errors import InvalidInput
from monocore_core.server.bodies import MAX_PARAMETERS, command_of, order_of, path_of


def test_a_command_passes_on_nothing_of_the_daemons_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the daemon")
    command = {"args": ["env"], "env": ["A=1", "SECRET"]}
    for read, table in (
        (command_of, command),
        (order_of, {"sandbox": {"image": "alpine"}, "command": command}),
    ):
        with pytest.raises(InvalidInput, match="'SECRET' has no value"):
            read(table)
    assert command_of({"args": ["env"], "env": ["A=1", "B="]}).env == ("A=1", "B=")


def test_too_many_parameters_are_the_clients_mistake() -> None:
    many = "&".join(f"a{number}=" for number in range(MAX_PARAMETERS))
    with pytest.raises(InvalidInput, match=f"more than {MAX_PARAMETERS} parameters"):
        path_of(make_mocked_request("GET", f"/v1/x?{many}&path=/a"))
