from monocore_core.client.sdk.aio.client import Client as Client
from monocore_core.client.sdk.aio.sandbox import Sandbox as Sandbox
from monocore_core.client.sdk.code import CodeResult as CodeResult
from monocore_core.client.sdk.values import CommandFailed as CommandFailed
from monocore_core.client.sdk.values import Result as Result
from monocore_core.client.tls import tls_context as tls_context

__all__ = ["Client", "CodeResult", "CommandFailed", "Result", "Sandbox", "tls_context"]
