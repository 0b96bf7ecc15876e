"""One part of a large job, as an array job runs it: start it once for each shard, on any number of machines.

    for i in 0 1 2 3; do python examples/many_shards.py --shard $i/4 & done; wait
    resumable list                      # each shard, and how far it is

Each shard has its own checkpoint and so its own owner: a shard that is started again goes on, one that is started
twice is refused. Give all of them the same store; with several machines one that they share.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from resumable import checkpointed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--shard", default="0/1", help="which of how many, from 0: 3/16")
parser.add_argument("--items", default=1000, type=int)
parser.add_argument("--workers", default=8, type=int)
parser.add_argument("--store", help="a directory or a URL; by default $CHECKPOINT_DIR")
options = parser.parse_args()
shard, shards = map(int, options.shard.split("/"))


def work(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


with checkpointed(f"job-{shard}", store=options.store) as cp:
    digests = cp.mapping("digests")
    mine = range(shard, options.items, shards)
    for number, digest in cp.map(work, mine, executor=lambda: ThreadPoolExecutor(options.workers)):
        digests[str(number)] = digest
    # Its checkpoint stays, with its results, until those of all shards are collected.
    cp.keep("Finished")

print(f"job-{shard}: {len(digests)} done")
