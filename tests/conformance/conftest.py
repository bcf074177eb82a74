"""The fakes go to other processes by their modules' names, so these must be importable."""

import sys
from pathlib import Path

from hypothesis import Phase, settings

sys.path.append(str(Path(__file__).parents[2]))

from tests.conformance.catching import UNSHRUNK

settings.register_profile(UNSHRUNK, phases=(Phase.explicit, Phase.generate))
