"""The tools. Their docstrings are what the model reads.

They act on sandboxes that this server made, and on no others of the daemon; those are removed when the server ends.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field
from typing_extensions import TypedDict

from monocore_core.client import Client, Sandbox
from monocore_core.client.sdk.values import Result
from monocore_core.errors import LimitExceeded, MonocoreError, NotFound
from monocore_mcp_server.limits import LABEL, MAX_ENTRIES, MAX_TEXT, Limits

Name = Annotated[str, Field(description="The sandbox's id, as create_sandbox gave it.", max_length=64)]
Path = Annotated[str, Field(description="Absolute path in the sandbox.", max_length=4096)]
Seconds = Annotated[float, Field(description="Seconds until it is ended.")]

INSTRUCTIONS = (
    "Run untrusted code and commands in sandboxes, small virtual machines made from OCI images. "
    "First create_sandbox, then run_code or run_command with its id."
)


class Made(TypedDict):
    """A sandbox."""

    id: str
    image: str
    state: str


class Ran(TypedDict):
    """A command that has ended."""

    exit_code: int
    reason: str
    stdout: str
    stderr: str
    truncated: bool


class CodeRan(Ran):
    """Source that has been run."""

    value: str | None
    error: str | None
    folder: str
    files: list[str]


class Listed(TypedDict):
    """An entry of a folder."""

    name: str
    kind: str
    size: int


class Tools:
    """What a model may do.

    Args:
        client: of the daemon.
        limits: of this server.
    """

    def __init__(self, client: Client, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._made: dict[str, Sandbox] = {}
        self._making = asyncio.Lock()
        self._label = uuid.uuid4().hex

    def server(self) -> MCPServer:
        """A server that offers them."""
        server: MCPServer = MCPServer("monocore", instructions=INSTRUCTIONS)
        reading, changing = ToolAnnotations(read_only_hint=True), ToolAnnotations(open_world_hint=False)
        server.add_tool(self.list_sandboxes, annotations=reading)
        server.add_tool(self.read_file, annotations=reading)
        server.add_tool(self.list_files, annotations=reading)
        server.add_tool(self.create_sandbox, annotations=changing)
        server.add_tool(self.run_command, annotations=changing)
        server.add_tool(self.run_code, annotations=changing)
        server.add_tool(self.write_file, annotations=changing)
        server.add_tool(self.stop_sandbox, annotations=ToolAnnotations(destructive_hint=True))
        return server

    async def create_sandbox(
        self,
        image: Annotated[
            str, Field(description="An OCI image, for example python:3.12 or alpine:3.20.", max_length=512)
        ],
        memory_mib: Annotated[int, Field(description="Memory, MiB.")] = 512,
        cpus: Annotated[int, Field(description="Virtual processors.")] = 1,
        internet: Annotated[bool, Field(description="Whether it reaches the internet.")] = False,
    ) -> Made:
        """Make a sandbox: a small virtual machine of its own, from an OCI image. It runs until stop_sandbox, its time limit, or the end of the session; what is written in it stays until then. Gives its id."""
        with told():
            wishes = self._limits.wishes(image, memory_mib, cpus, internet=internet)
            wishes["labels"] = {LABEL: self._label}
            async with self._making:
                await self._forget_ended()
                if len(self._made) >= self._limits.sandboxes:
                    raise LimitExceeded(
                        f"there are {len(self._made)} sandboxes already", hint="stop_sandbox ends one"
                    )
                sandbox = await self._client.create(image, **wishes)
                self._made[sandbox.id] = sandbox
            return _made(sandbox)

    async def run_command(
        self,
        sandbox: Name,
        command: Annotated[
            list[str],
            Field(description='Program and arguments; no shell: ["sh", "-c", "…"] for one.', min_length=1),
        ],
        stdin: Annotated[str, Field(description="Its standard input.", max_length=MAX_TEXT)] = "",
        cwd: Annotated[str, Field(description="Folder; the image's when empty.", max_length=4096)] = "",
        timeout: Seconds = 60.0,  # noqa: ASYNC109 - the daemon's, which ends the command
    ) -> Ran:
        """Run a command in a sandbox and wait for its end. Gives the exit code, and up to 64 KiB of each output."""
        with told():
            found = self._of(sandbox)
            limit = self._limits.time(timeout)
            ended = await found.run(*command, stdin=stdin, cwd=cwd, timeout=limit, max_output=MAX_TEXT)
            return _ran(ended)

    async def run_code(
        self,
        sandbox: Name,
        language: Annotated[
            Literal["python", "javascript", "shell"],
            Field(description="The sandbox's image must have python3, node or sh."),
        ],
        code: Annotated[str, Field(description="The source text.", max_length=1024 * 1024)],
        timeout: Seconds = 60.0,  # noqa: ASYNC109 - the daemon's, which ends the command
    ) -> CodeRan:
        """Run source text in a fresh folder of a sandbox. Gives the output, the files that it made in that folder, and of Python the value of the last expression and the exception, if any. Variables do not last from one run to the next; files do."""
        with told():
            found = self._of(sandbox)
            result = await found.run_code(language, code, timeout=self._limits.time(timeout))
            return {
                **_ran(result.result),
                "value": result.value,
                "error": result.error.trace[-4096:] if result.error is not None else None,
                "folder": result.folder,
                "files": list(result.files),
            }

    async def write_file(
        self,
        sandbox: Name,
        path: Path,
        content: Annotated[str, Field(description="All of its text.", max_length=1024 * 1024)],
    ) -> str:
        """Write a text file in a sandbox, as a whole; folders that are missing are made."""
        with told():
            await self._of(sandbox).files.write(path, content, parents=True)
            return f"{len(content.encode())} bytes written"

    async def read_file(self, sandbox: Name, path: Path) -> str:
        """Read a text file of a sandbox, up to 64 KiB."""
        with told():
            return await self._of(sandbox).files.read_text(path, limit=MAX_TEXT)

    async def list_files(self, sandbox: Name, path: Path) -> list[Listed]:
        """List a folder of a sandbox: names, kinds (file, folder, link …) and sizes, up to 500."""
        with told():
            found = await self._of(sandbox).files.list(path)
            return [{"name": one.name, "kind": one.kind, "size": one.size} for one in found[:MAX_ENTRIES]]

    async def list_sandboxes(self) -> list[Made]:
        """List the sandboxes of this session that run."""
        with told():
            await self._forget_ended()
            return [_made(one) for one in self._made.values()]

    async def stop_sandbox(self, sandbox: Name) -> str:
        """Stop a sandbox and remove it, with everything that is in it."""
        with told():
            found = self._of(sandbox)
            with suppress(NotFound):
                await found.remove()
            self._made.pop(found.id, None)
            return f"{found.id} is removed"

    async def close(self) -> None:
        """Remove every sandbox that was made, all at once: who ended this server waits 2 s before ending it by force."""
        made = await self._client.list(everything=True, labels={LABEL: self._label})
        await asyncio.gather(*(_removed(one) for one in made))
        self._made.clear()

    def _of(self, name: str) -> Sandbox:
        found = self._made.get(name)
        if found is None:
            raise NotFound(f"no sandbox {name!r} was made in this session", hint="list_sandboxes shows them")
        return found

    async def _forget_ended(self) -> None:
        running = {one.id: one for one in await self._client.list(labels={LABEL: self._label})}
        for identity in [one for one in self._made if one not in running]:
            with suppress(MonocoreError):
                await self._made[identity].remove()
            del self._made[identity]
        self._made.update(running)


@contextmanager
def told() -> Generator[None]:
    """Our errors as what the model is told: the brief, every problem, and what to do."""
    try:
        yield
    except MonocoreError as error:
        problems: Sequence[str] = getattr(error, "problems", ()) or getattr(error, "reasons", ())
        words = [error.brief, *problems, *([error.hint] if error.hint else [])]
        raise ToolError("\n".join(words)) from error


async def _removed(sandbox: Sandbox) -> None:
    with suppress(MonocoreError):  # somebody was quicker, or its daemon is gone: its time limit ends it
        await sandbox.remove()


def _made(sandbox: Sandbox) -> Made:
    return {"id": sandbox.id, "image": sandbox.info.image, "state": sandbox.info.state}


def _ran(result: Result) -> Ran:
    out, err = result.stdout_bytes, result.stderr_bytes
    return {
        "exit_code": result.code,
        "reason": result.reason,
        "stdout": out[:MAX_TEXT].decode("utf-8", "replace"),
        "stderr": err[:MAX_TEXT].decode("utf-8", "replace"),
        "truncated": result.truncated or len(out) > MAX_TEXT or len(err) > MAX_TEXT,
    }
