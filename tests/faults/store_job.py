"""A loop with all that a checkpoint may hold, on the store of the first argument; says so when all of it is right.

With a second argument, a directory, what it does is noted there, so that it is known what was done twice.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from resumable import Checkpoint, checkpointed, every

PAGES, PARTS = 300, 3


def work(cp: Checkpoint, notes: Path) -> None:
    sizes, seen, lines, best = cp.mapping("sizes"), cp.set("seen"), cp.log("lines"), cp.artifact("best")
    with notes.open("a") as noted:
        for page in cp.remaining(range(PAGES)):
            for part in cp.remaining(range(PARTS), name="parts"):
                sizes[f"{page}.{part}"] = page * part
                lines.append([page, part])
                noted.write(f"{page}.{part}\n")
                noted.flush()
                time.sleep(0.0005)
            seen.add(page)
            if page % 20 == 19:
                with best.write() as path:
                    path.write_text(f"{page} " * 1000)
            cp.state["pages"] = cp.state.get("pages", 0) + 1


def check(cp: Checkpoint) -> None:
    both = [(page, part) for page in range(PAGES) for part in range(PARTS)]
    assert dict(cp.mapping("sizes")) == {f"{page}.{part}": page * part for page, part in both}
    assert set(cp.set("seen")) == set(range(PAGES))
    assert [*cp.log("lines")] == [[page, part] for page, part in both]
    assert cp.state["pages"] == PAGES
    assert cp.artifact("best").path.read_text() == f"{PAGES - 1} " * 1000


def main() -> None:
    with checkpointed("real", every(seconds=0.05), store=sys.argv[1]) as cp:
        work(cp, Path(sys.argv[2]))
        check(cp)
    print("right")


if __name__ == "__main__":
    main()
