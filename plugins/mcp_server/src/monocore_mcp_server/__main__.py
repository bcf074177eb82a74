"""``python -m monocore_mcp_server``."""

import sys

from monocore_mcp_server.main import entry

sys.exit(entry())
