"""The SDK without asyncio, over :mod:`monocore_core.client.api`."""
