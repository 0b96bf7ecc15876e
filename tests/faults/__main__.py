"""``python -m tests.faults``: a slice of all faults, then the table of figures. ``--full`` tries every point: hours.

Other arguments go to pytest: ``python -m tests.faults --full -k power``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
PARTS = (
    "faults",
    "format/test_restore.py",
    "format/test_verify.py",
    "engine/test_model.py",
    "testing/test_prove.py",
)


def main() -> int:
    """Run them in a process of their own, where ``RESUMABLE_FAULTS`` counts from the first import on."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--full"]
    extent = {"RESUMABLE_FAULTS": "all"} if "--full" in sys.argv else {}
    everything = ["--timeout=0", "-m", "slow or not slow"]
    command = [sys.executable, "-m", "pytest", "-q", *everything, *(str(TESTS / part) for part in PARTS), *arguments]
    return subprocess.run(command, env=os.environ | extent, cwd=TESTS.parent).returncode


if __name__ == "__main__":
    sys.exit(main())
