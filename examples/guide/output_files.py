"""An output file that holds each row once, whatever died when.

python -m examples.guide.output_files
"""

import csv
import time

from resumable import checkpointed


def main(path: str = "squares.csv") -> None:
    """Write a table of squares. What an unfinished item has written is cut off when it is done again."""
    with checkpointed("squares table") as cp:
        rows = cp.sink(path, header="number,square\n", existing="replace")
        table = csv.writer(rows, lineterminator="\n")
        for number in cp.remaining(range(20)):
            time.sleep(0.01)
            table.writerow([number, number * number])


if __name__ == "__main__":
    main()
