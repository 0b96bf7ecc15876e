"""Start over: forget what an earlier run has saved.

resumable rm report                  # by hand
python -m examples.guide.start_over --fresh
"""

import sys
import time

from resumable import checkpointed


def main(fresh: bool = False) -> int:
    """Add up, from the beginning if *fresh*. Returns how many items this run has done."""
    with checkpointed("report", resume=not fresh) as cp:
        done = 0
        for number in cp.remaining(range(20)):
            time.sleep(0.01)
            cp.state["sum"] = cp.state.get("sum", 0) + number
            done += 1
        print(f"{done} items in this run, sum {cp.state['sum']}")
        return done


if __name__ == "__main__":
    main(fresh="--fresh" in sys.argv)
