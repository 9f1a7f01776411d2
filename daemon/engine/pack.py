"""The packing of a checkpoint as a program, for whoever must not import the engine:

    python -I -m glmd.daemon.engine.pack CHECKPOINT MODE PATH

Writes the packed file PATH. On stdout a line of JSON each: {"done", "total"} in bytes of the
checkpoint while it works, and {"error", "hint"} at the end where it fails, with exit code 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from glmd.checkpoint.folder import Checkpoint
from glmd.daemon.engine.packing import write_packed
from glmd.errors import GlmdError


def _tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main() -> int:
    folder, mode, path = sys.argv[1:]
    try:
        write_packed(
            Checkpoint.open(Path(folder)),
            mode,  # type: ignore[arg-type]  # a mode: nobody types this command
            Path(path),
            lambda done, total: _tell(done=done, total=total),
        )
    except GlmdError as error:
        _tell(error=error.message, hint=error.hint)
        return 1
    except OSError as error:
        hint = "Make room, or choose another folder."
        _tell(error=f"{path} cannot be written: {error.strerror}.", hint=hint)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
