"""Convert a large CSV file in chunks. Each row is in the output once. It needs pandas.

python -m examples.guide.chunks_to_csv sales.csv amounts.csv
"""

import sys
import time

import pandas as pd

from resumable import checkpointed


def main(source: str, target: str = "amounts.csv", rows: int = 100) -> None:
    """Write *target*. The rows of an unfinished chunk are cut off before it is done again."""
    with checkpointed("chunks to csv") as cp:
        amounts = cp.sink(target, header="id,amount\n", existing="replace")
        for chunk in cp.remaining(pd.read_csv(source, chunksize=rows)):
            time.sleep(0.01)
            chunk["amount"] = chunk["price"] * chunk["count"]
            chunk[["id", "amount"]].to_csv(amounts, header=False, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
