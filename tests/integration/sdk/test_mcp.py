"""The tools of the MCP server, called by an MCP client over stdio, against a daemon and a sandbox that are real."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, TextContent
from monocore_mcp_server.limits import LABEL

from monocore_core.client.api import Api, target
from monocore_core.client.tables import tables, text

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def said(result: CallToolResult) -> str:
    return "".join(one.text for one in result.content if isinstance(one, TextContent))


async def call(client: Client, tool: str, **arguments: object) -> Mapping[str, object]:
    result = await client.call_tool(tool, dict(arguments))
    assert not result.is_error, said(result)
    return cast("Mapping[str, object]", result.structured_content or {})


async def refused(client: Client, tool: str, **arguments: object) -> str:
    result = await client.call_tool(tool, dict(arguments))
    assert result.is_error, said(result)
    return said(result)


async def test_a_model_uses_a_sandbox_and_nothing_else(
    socket: Path, sandbox: str, image: str, api: Api
) -> None:
    words = ["-m", "monocore_mcp_server", "--url", f"unix://{socket}", "--sandboxes", "1", "--image", image]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))
    async with Client(server, read_timeout_seconds=120) as client:
        tools = {one.name: one for one in (await client.list_tools()).tools}
        assert set(tools) == {
            "create_sandbox", "run_command", "run_code", "write_file", "read_file", "list_files",
            "list_sandboxes", "stop_sandbox",
        }  # fmt: skip
        assert all(one.description and len(one.description) > 40 for one in tools.values())
        made = await call(client, "create_sandbox", image=image, memory_mib=192)
        box = str(made["id"])
        assert made["state"] == "running"
        ran = await call(client, "run_command", sandbox=box, command=["sh", "-c", "cat; exit 3"], stdin="in")
        assert (ran["exit_code"], ran["stdout"], ran["truncated"]) == (3, "in", False)
        long = await call(client, "run_command", sandbox=box, command=["seq", "1", "100000"])
        assert (len(str(long["stdout"])), long["truncated"]) == (64 * 1024, True)
        code = await call(client, "run_code", sandbox=box, language="shell", code="echo x > made; echo done")
        assert (code["stdout"], code["files"]) == ("done\n", ["made"])
        await call(client, "write_file", sandbox=box, path="/srv/a/b", content="héllo")
        assert said(await client.call_tool("read_file", {"sandbox": box, "path": "/srv/a/b"})) == "héllo"
        listed = await call(client, "list_files", sandbox=box, path="/srv/a")
        assert listed["result"] == [{"name": "b", "kind": "file", "size": 6}]
        assert "already" in await refused(client, "create_sandbox", image=image)
        assert "not allowed" in await refused(client, "create_sandbox", image="other")
        assert "memory_mib" in await refused(client, "create_sandbox", image=image, memory_mib=9999)
        assert "no network" in await refused(client, "create_sandbox", image=image, internet=True)
        assert "up to" in await refused(client, "run_command", sandbox=box, command=["true"], timeout=9999)
        # one that somebody else made
        assert "session" in await refused(client, "run_command", sandbox=sandbox, command=["true"])
        assert "session" in await refused(client, "stop_sandbox", sandbox=sandbox)
    left = tables(api.call("GET", target("sandboxes", all=True, label=[LABEL])), "sandboxes")
    assert [text(one, "name") for one in left] == []
    assert text(api.call("GET", target("sandboxes", sandbox)), "state") == "running"
