"""Many machines that share the shards of a job without a coordinator: a queue of DBOS, on PostgreSQL.

    pip install dbos
    export DBOS_SYSTEM_DATABASE_URL=postgresql://user:secret@host/job
    python examples/dbos_shards.py --name here --store /shared          # on as many machines as you like,
    python examples/dbos_shards.py --name there --store /shared         # each with a name of its own
    resumable list --dir /shared                                        # each shard, and the sum of all

DBOS hands each shard to one process and knows which shards are done; the checkpoint knows how far a shard is. Kill a
process and run its line again: DBOS recovers the shards that it had, and each goes on at its last save. For a machine
that does not come back, start another one under its name. Two processes must never run under one name.
"""

import argparse
import itertools
import json
import os
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

from dbos import DBOS, SetWorkflowID, WorkflowHandle

from resumable import checkpointed, every

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--name", required=True, help="of this process; the same each time that it is started")
parser.add_argument("--store", default="shards", type=Path, help="a directory that all machines share")
parser.add_argument("--operation", default="digests")
parser.add_argument("--shards", default=16, type=int)
parser.add_argument("--items", default=2000, type=int)
parser.add_argument("--seconds", default=0.05, type=float, help="that one item takes")
parser.add_argument("--at-once", default=2, type=int, help="how many shards this process works on")
options = parser.parse_args()
stopping = threading.Event()


class Stopped(Exception):
    """Ctrl-C: the shard is left to the next run."""


def work(number: int) -> str:
    time.sleep(options.seconds)
    return sha256(str(number).encode()).hexdigest()


@DBOS.workflow(max_recovery_attempts=None)
def work_on(operation: str, shard: int, shards: int, items: int) -> int:
    """One shard. DBOS calls it anew after a crash, from its first line; the loop goes on where it was."""
    with checkpointed(f"{operation}/{shard}", every(seconds=1), store=options.store, auto_cleanup=False) as cp:
        rows = cp.sink(options.store / f"{operation}-{shard}.jsonl")
        for number in cp.remaining(range(shard, items, shards)):
            if stopping.is_set():
                raise Stopped
            rows.write(json.dumps({"number": number, "digest": work(number)}) + "\n")
        return cp.processed_items


def enqueue(shard: int) -> WorkflowHandle[int]:
    """Put it into the queue, if no process has done so. A workflow that an exception has ended never runs again in
    DBOS; there is another one then, with the same checkpoint.
    """
    for attempt in itertools.count():
        workflow_id = f"{options.operation}/{shard}#{attempt}"
        status = DBOS.get_workflow_status(workflow_id)
        if status is None:
            with SetWorkflowID(workflow_id):
                return DBOS.enqueue_workflow("shards", work_on, options.operation, shard, options.shards, options.items)
        if status.status != "ERROR":
            return DBOS.retrieve_workflow(workflow_id)
    raise AssertionError


def main() -> int:
    DBOS(
        config={
            "name": "shards",
            "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"],
            "executor_id": options.name,
            # By default a hash of the source: an edited comment would strand the shards that were begun before.
            "application_version": "1",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    failed = 0
    try:
        DBOS.register_queue("shards", worker_concurrency=options.at_once)
        for shard, handle in enumerate([enqueue(shard) for shard in range(options.shards)]):
            try:
                print(f"{options.operation}/{shard}: {handle.get_result()} done", flush=True)
            except Exception as error:
                failed += 1
                print(f"{options.operation}/{shard}: {error!r}; run again to go on", file=sys.stderr)
    except KeyboardInterrupt:
        stopping.set()
        return 130
    finally:
        DBOS.destroy(workflow_completion_timeout_sec=60 if stopping.is_set() else 0)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
