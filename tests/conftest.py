"""What every test can use. The fixtures live in tests/support, one idea a file."""

from __future__ import annotations

import sys
from pathlib import Path

# Tests share helpers as `support.…`; the tests folder itself is not a package.
sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = [
    "support.daemons",
    "support.properties",
    "support.requirements",
    "support.served",
]
