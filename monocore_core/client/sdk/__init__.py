"""The SDK: sandboxes from programs (``docs/sdk.md``), with asyncio or without.

::

    async with Sandbox.create("python:3.12", memory="512MiB") as sandbox:        # monocore_core.client
        print((await sandbox.run("python", "-c", "print(1)")).stdout)

    with Sandbox.create("python:3.12", memory="512MiB") as sandbox:              # monocore_core.client.sync
        print(sandbox.run("python", "-c", "print(1)").stdout)

* :mod:`.values`: what is answered. :mod:`.routes`: what is asked; the one module that knows the daemon's routes. Both pure.
* :mod:`.talk`: what is said on the WebSocket of a process; pure. :mod:`.code`: running source text; pure.
* :mod:`.endpoint`: where a daemon is, and how it is connected to.
* :mod:`.aio`: with aiohttp. :mod:`.blocking`: over :mod:`monocore_core.client.api`, without threads and without aiohttp.
"""
