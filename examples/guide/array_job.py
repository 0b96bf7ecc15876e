"""An array job whose tasks share one database: any task can be started again, and one command adds them up.

for task in 0 1 2; do SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=3 python -m examples.guide.array_job & done; wait
resumable list --store sqlite:///checkpoints.db     # pip install 'resumable-loops[sql,cli]'

SQLite is for tasks on one machine. Tasks on many of them take postgresql://, or a directory that all of them reach.
"""

import os
import time

from resumable import checkpointed


def main(task: int, tasks: int, store: str = "sqlite:///checkpoints.db") -> int:
    """Do every item whose number leaves *task* over. Returns the sum of this task."""
    with checkpointed(f"array-{task}", store=store, auto_cleanup=False) as cp:
        for number in cp.remaining(range(task, 60, tasks)):
            time.sleep(0.01)
            cp.state["sum"] = cp.state.get("sum", 0) + number
        return int(cp.state["sum"])


if __name__ == "__main__":
    print(main(int(os.environ["SLURM_ARRAY_TASK_ID"]), int(os.environ["SLURM_ARRAY_TASK_COUNT"])))
