"""``python -m tests.faults``: all faults at every point, then the table of figures. Takes some hours.

Arguments go to pytest: ``python -m tests.faults -k power``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run them in a process of their own, where ``RESUMABLE_FAULTS`` counts from the first import on."""
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=0", str(HERE), *sys.argv[1:]]
    environment = {**os.environ, "RESUMABLE_FAULTS": os.environ.get("RESUMABLE_FAULTS", "all")}
    return subprocess.run(command, env=environment, cwd=HERE.parents[1]).returncode


if __name__ == "__main__":
    sys.exit(main())
