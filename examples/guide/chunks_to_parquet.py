"""Convert a large CSV file to Parquet, a file for each chunk. It needs pandas and pyarrow.

python -m examples.guide.chunks_to_parquet sales.csv parts
"""

import sys
import time
from pathlib import Path

import pandas as pd

from resumable import checkpointed


def main(source: str, folder: str = "parts", rows: int = 100) -> float:
    """Write the parts. Returns the sum of all amounts.

    Each part is named by the number of its chunk, so a chunk that is done again replaces its part.
    """
    parts = Path(folder)
    parts.mkdir(exist_ok=True)
    with checkpointed("chunks to parquet") as cp:
        for number, chunk in cp.remaining(enumerate(pd.read_csv(source, chunksize=rows))):
            time.sleep(0.01)
            chunk["amount"] = chunk["price"] * chunk["count"]
            unfinished = parts / f"part-{number:05}.unfinished"
            chunk.to_parquet(unfinished)
            unfinished.replace(parts / f"part-{number:05}.parquet")
            cp.state["sum"] = cp.state.get("sum", 0.0) + float(chunk["amount"].sum())  # last, by one assignment
        return float(cp.state["sum"])


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
