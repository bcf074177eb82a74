"""The fakes go to other processes by their modules' names, so these must be importable; and what became of them is shown at the end."""

import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

sys.path.append(str(Path(__file__).parents[2]))

from tests.conformance.catching import UNSHRUNK, tables

settings.register_profile(UNSHRUNK, phases=(Phase.explicit, Phase.generate))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show each table, whether or not its test passed."""
    for title, text in tables(config).texts:
        terminalreporter.section(title)
        terminalreporter.write_line(text)
