"""Several shards, each an operation of its own: for arrays of jobs, or a few terminals.

for shard in 0 1 2; do python -m examples.guide.shards $shard 3 & done; wait
resumable list --dir checkpoints     # adds them up
"""

import sys
import time

from resumable import checkpointed


def main(shard: int, shards: int, store: str = "checkpoints") -> int:
    """Do every item whose number leaves *shard* over. Returns the sum of this shard."""
    with checkpointed(f"parts-{shard}", store=store) as cp:
        for number in cp.remaining(range(shard, 60, shards)):
            time.sleep(0.01)
            cp.state["sum"] = cp.state.get("sum", 0) + number
        return int(cp.state["sum"])


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2])))
