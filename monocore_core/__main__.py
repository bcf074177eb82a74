"""``python -m monocore_core`` is the command line."""

from monocore_core.cli.main import entry

entry()
