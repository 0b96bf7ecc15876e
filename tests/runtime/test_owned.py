"""Files that only this process may write to, and what a forked child keeps of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resumable import checkpointed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
LEFT = """
import os, signal, time
from resumable import checkpointed, every

with checkpointed("job", every(items=1)) as cp:
    rows = cp.sink("rows.txt")
    for i in cp.remaining(range(9)):
        rows.write(f"{i}\\n")
        if i == 4:
            cp.save()
            if (child := os.fork()) == 0:
                for number in range(3):
                    os.close(number)
                time.sleep(60)
                os._exit(0)
            print(child, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_forked_child_that_outlives_its_parent_keeps_nobody_from_the_file(tmp_path: Path) -> None:
    child = int(subprocess.run([sys.executable, "-c", LEFT], cwd=tmp_path, stdout=subprocess.PIPE, timeout=60).stdout)
    try:
        with checkpointed("job", store=tmp_path) as cp:
            rows = cp.sink(tmp_path / "rows.txt")
            for i in cp.remaining(range(9)):
                rows.write(f"{i}\n")
    finally:
        os.kill(child, signal.SIGKILL)
    assert (tmp_path / "rows.txt").read_text() == "".join(f"{i}\n" for i in range(9))
