"""An engine for each set of settings that is asked for, all on one home."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from attrs import define, evolve, field

from monocore_core.config.load import load_settings
from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.errors import InvalidInput, LimitExceeded
from monocore_core.model.events import Listener
from monocore_core.model.record import SettingsSource
from monocore_core.plugins import Plugins
from monocore_core.pooling import Pool

#: Different settings at once.
MAX_ENGINES = 64


@define(eq=False)
class Engines:
    """Engines by their settings. Opened when first asked for, closed together with ``stack``.

    Attributes:
        settings: of whoever asks for nothing else; their home is everyone's.
        plugins: installed.
        listener: receives every engine's events.
        stack: closes them.
        pool: of spare machines, for all of them.
    """

    settings: Settings
    plugins: Plugins
    listener: Listener
    stack: AsyncExitStack
    pool: Pool = field(factory=Pool)
    _open: list[tuple[Settings, Engine]] = field(factory=list[tuple[Settings, Engine]], init=False)
    _opening: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def of(self, source: SettingsSource) -> Engine:
        """The engine whose settings come from there.

        Raises:
            ConfigError, NotFound: as reading the configuration says.
            InvalidInput: they name another home.
            LimitExceeded: too many different settings are in use.
        """
        wanted = self._settings(source)
        async with self._opening:
            for settings, engine in self._open:
                if settings == wanted:
                    return engine
            if len(self._open) >= MAX_ENGINES:
                raise LimitExceeded(
                    f"sandboxes with {MAX_ENGINES} different settings were started already",
                    hint="restart the daemon, or use the same settings for several",
                )
            engine = await self.stack.enter_async_context(
                Engine.open(wanted, plugins=self.plugins, listener=self.listener, pool=self.pool)
            )
            self._open.append((wanted, engine))
            return engine

    async def base(self) -> Engine:
        """The engine of the settings that are everyone's."""
        return await self.of(SettingsSource())

    def _settings(self, source: SettingsSource) -> Settings:
        home = self.settings.home
        if not source:
            return self.settings
        overrides = {"home": str(home), **dict(source.overrides)}
        found = load_settings(
            environ=dict(source.environ),
            cwd=Path(source.cwd or "/"),
            file=Path(source.file) if source.file else None,
            overrides=overrides,
        )
        if found.home != home:
            raise InvalidInput(
                f"the settings are for {found.home}, and this daemon keeps {home}",
                hint="name the home in the client: --home",
            )
        return self.settings if evolve(found, source=self.settings.source) == self.settings else found
