"""The fakes go to other processes by their modules' names: so these must be importable."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
