"""monocore: secure microVMs for untrusted code, from ordinary OCI images.

The core composes plugins. Read :mod:`monocore_core.interfaces` for what a plugin implements,
:mod:`monocore_core.engine` for how one sandbox runs, and ``docs/architecture.md`` for the plan of the house.
"""

__version__ = "0.3.0.dev0"
