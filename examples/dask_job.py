"""A job on a Dask cluster that may be killed and started again, here or elsewhere.

    python examples/dask_job.py                                 # a cluster on this machine
    python examples/dask_job.py --scheduler tcp://10.0.0.1:8786
    python examples/dask_job.py --shard 3/16                    # one of several coordinators
    resumable list                                              # each of them, and the sum of all

A task should take 0.15 s or more on 50 workers, or Dask's own work is most of it: ``batch`` puts items together.
"""

import argparse
import time
from contextlib import ExitStack
from functools import partial
from hashlib import sha256

from distributed import Client, LocalCluster

from resumable import checkpointed, every


def shard_of(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdecimal() and shards.isdecimal() and int(shard) < int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard: of 16 there are 0/16 to 15/16")
    return int(shard), int(shards)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--scheduler", help="the address of a running cluster")
parser.add_argument("--shard", default="0/1", type=shard_of, help="which of how many, from 0")
parser.add_argument("--items", default=2000, type=int)
parser.add_argument("--seconds", default=0.01, type=float, help="that one item takes")
parser.add_argument("--batch", default=50, type=int)
parser.add_argument("--store", help="a directory; by default $CHECKPOINT_DIR")


def work(seconds: float, number: int) -> str:
    time.sleep(seconds)
    return sha256(str(number).encode()).hexdigest()


def main() -> None:
    options = parser.parse_args()
    shard, shards = options.shard
    with ExitStack() as stack:
        address = options.scheduler or stack.enter_context(LocalCluster(n_workers=2, dashboard_address=":0"))
        client = stack.enter_context(Client(address))
        # Its checkpoint stays, with its results, until those of all shards are collected.
        shard_of_job = checkpointed(f"dask-{shard}", every(seconds=1), store=options.store, auto_cleanup=False)
        cp = stack.enter_context(shard_of_job)
        digests = cp.mapping("digests")
        mine = range(shard, options.items, shards)
        work_on = partial(work, options.seconds)
        for number, digest in cp.map(work_on, mine, executor=client, batch=options.batch, on_error="skip"):
            digests[str(number)] = digest
        print(f"dask-{shard}: {len(digests)} done, {len(cp.failed)} failed")


if __name__ == "__main__":  # Dask's workers import this file
    main()
