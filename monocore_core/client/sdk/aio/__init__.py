"""The SDK with asyncio, on aiohttp."""

from monocore_core.client.sdk.aio.client import Client
from monocore_core.client.sdk.aio.sandbox import Sandbox

__all__ = ["Client", "Sandbox"]
