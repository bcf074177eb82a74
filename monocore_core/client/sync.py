"""The SDK without asyncio, for programs that wait.

Worked example::

    from monocore_core.client.sync import Sandbox

    with Sandbox.create("python:3.12", memory="512MiB") as sandbox:
        print(sandbox.run("python", "-c", "print(1)").stdout)

The same names and words as with asyncio (:mod:`monocore_core.client`), over the thin core of the command line: a connection for each request,
no thread, no aiohttp. Only :meth:`Sandbox.expose` has a thread, for it listens while the program does something else.
"""

from monocore_core.client.sdk.blocking.client import Client
from monocore_core.client.sdk.blocking.sandbox import Sandbox
from monocore_core.client.sdk.code import CodeResult
from monocore_core.client.sdk.values import CommandFailed, Result
from monocore_core.client.tls import tls_context

__all__ = ["Client", "CodeResult", "CommandFailed", "Result", "Sandbox", "tls_context"]
