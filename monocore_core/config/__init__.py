"""From ``monocore.toml``, the environment and flags to validated :class:`~.values.Settings`, every error at once."""
