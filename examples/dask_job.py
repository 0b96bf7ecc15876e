"""A job on a Dask cluster that may be killed and started again, here or elsewhere.

    python examples/dask_job.py                                 # a cluster on this machine
    python examples/dask_job.py --scheduler tcp://10.0.0.1:8786
    python examples/dask_job.py --shard 3/16                    # one of several coordinators

A task should take 0.15 s or more on 50 workers, or Dask's own work is most of it: ``batch`` puts items together.
"""

import argparse
from contextlib import ExitStack
from hashlib import sha256

from distributed import Client, LocalCluster

from resumable import checkpointed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--scheduler", help="the address of a running cluster")
parser.add_argument("--shard", default="0/1", help="which of how many, from 0")
parser.add_argument("--items", default=2000, type=int)
parser.add_argument("--batch", default=50, type=int)
parser.add_argument("--store", help="a directory or a URL; by default $CHECKPOINT_DIR")


def work(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def main() -> None:
    options = parser.parse_args()
    shard, shards = map(int, options.shard.split("/"))
    with ExitStack() as stack:
        address = options.scheduler or stack.enter_context(LocalCluster(n_workers=2, dashboard_address=None))
        client = stack.enter_context(Client(address))
        cp = stack.enter_context(checkpointed(f"job-{shard}", store=options.store))
        digests = cp.mapping("digests")
        mine = range(shard, options.items, shards)
        for number, digest in cp.map(work, mine, executor=client, batch=options.batch, on_error="skip"):
            digests[str(number)] = digest
        cp.keep("Finished")
        print(f"job-{shard}: {len(digests)} done, {len(cp.failed)} failed")


if __name__ == "__main__":  # Dask's workers import this file
    main()
