"""One part of a large job, as an array job runs it: start it once for each shard, on any number of machines.

    for i in 0 1 2 3; do python examples/many_shards.py --shard $i/4 & done; wait
    sbatch --array=0-15 --wrap 'python examples/many_shards.py --shard $SLURM_ARRAY_TASK_ID/16'
    resumable list                      # each shard, and the sum of all

Each shard has its own checkpoint and so its own owner: a shard that is started again goes on, one that is started
twice is refused. Give all of them the same store; with several machines one that they share.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from resumable import checkpointed, every


def shard_of(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdecimal() and shards.isdecimal() and int(shard) < int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard: of 16 there are 0/16 to 15/16")
    return int(shard), int(shards)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--shard", default="0/1", type=shard_of, help="which of how many, from 0: 3/16")
parser.add_argument("--items", default=1000, type=int)
parser.add_argument("--seconds", default=0.1, type=float, help="that one item takes")
parser.add_argument("--workers", default=8, type=int)
parser.add_argument("--store", help="a directory; by default $CHECKPOINT_DIR")
options = parser.parse_args()
shard, shards = options.shard


def work(number: int) -> str:
    time.sleep(options.seconds)
    return sha256(str(number).encode()).hexdigest()


# Saved each second, for the list. Its checkpoint stays, with its results, until those of all shards are collected.
with checkpointed(f"array-{shard}", every(seconds=1), store=options.store, auto_cleanup=False) as cp:
    digests = cp.mapping("digests")
    mine = range(shard, options.items, shards)
    for number, digest in cp.map(work, mine, executor=lambda: ThreadPoolExecutor(options.workers)):
        digests[str(number)] = digest

print(f"array-{shard}: {len(digests)} done")
