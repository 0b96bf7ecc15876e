"""Own an operation, stop as if the machine slept, and say what each verb did when it went on: ``python … URL``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from resumable import StaleCheckpointError, open_store
from resumable.stores import Holder


def outcome(verb: Callable[[], object]) -> str:
    try:
        verb()
    except StaleCheckpointError:
        return "refused"
    return "done"


def main() -> None:
    lease = open_store(sys.argv[1]).claim("crawl", Holder.me())
    lease.stage(lease.next, [b"old"])(b"")
    lease.append(lease.next, b"1\n")
    late = lease.stage(lease.next - 1, [b"late"])
    print("stops", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    verbs = (lambda: lease.append(lease.next, b"2\n"), lambda: late(b""), lease.renew, lease.delete)
    print(*map(outcome, verbs), flush=True)
    lease.release()


if __name__ == "__main__":
    main()
