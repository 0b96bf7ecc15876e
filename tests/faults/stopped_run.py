"""A run that waits in an item, then does one thing more, and says how it ended: ``python … URL VERB DIRECTORY``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from resumable import Checkpoint, StaleCheckpointError, checkpointed, every


def work(cp: Checkpoint, verb: str, here: Path) -> None:
    numbers, sink, model = cp.set("numbers"), cp.sink(here / "sink"), cp.artifact("model")

    def write() -> None:
        with model.write() as path:
            path.write_text("late")

    verbs: dict[str, Callable[[], object]] = {
        "save": cp.save,
        "set": lambda: (numbers.add(99), cp.save()),
        "sink": lambda: (sink.write("late\n"), cp.save()),
        "write": write,
        "publish": lambda: model.publish(here / "published"),
        "once": lambda: cp.once("mail", (here / "mail").touch),
        "tick": lambda: None,
    }
    for number in cp.remaining(range(10)):
        numbers.add(number)
        sink.write(f"{number}\n")
        if number == 3:
            with model.write() as path:
                path.write_text("model")
            cp.save()
            print("stands", flush=True)
            sys.stdin.readline()
            verbs[verb]()


def main() -> None:
    logging.disable()
    try:
        with checkpointed("crawl", every(hours=1), store=sys.argv[1]) as cp:
            work(cp, sys.argv[2], Path(sys.argv[3]))
    except StaleCheckpointError:
        print("refused")


if __name__ == "__main__":
    main()
