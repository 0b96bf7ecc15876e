"""A large table row by row, by keyset: no query is open for hours, and none reads again what is done.

python -m examples.guide.sql_cursor documents.db words.csv
"""

import sqlite3
import sys
import time
from typing import Any

from resumable import checkpointed

QUERY = "SELECT id, body FROM documents WHERE id > ? ORDER BY id LIMIT 50"


def main(database: str, target: str = "words.csv") -> None:
    """Count the words of each document. Rows that are added meanwhile come last."""
    db = sqlite3.connect(database)

    def fetch(after: int | None) -> tuple[list[Any], int | None]:
        rows = db.execute(QUERY, (after or 0,)).fetchall()
        return rows, rows[-1][0] if rows else None

    with checkpointed("documents") as cp:
        words = cp.sink(target, header="id,words\n", existing="replace")
        for id_, body in cp.pages(fetch):
            time.sleep(0.001)
            words.write(f"{id_},{len(body.split())}\n")
    db.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
