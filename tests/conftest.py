"""What every test can use. The fixtures live in tests/support, one idea a file."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

# A run in the background of a script inherits SIGINT as ignored, and hands that on to the programs
# under test, for which Ctrl-C is part of what they do.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests share helpers as `support.…`; the tests folder itself is not a package.
sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = [
    "support.daemons",
    "support.properties",
    "support.requirements",
    "support.served",
]
