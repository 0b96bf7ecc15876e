"""Several loops, and loops in loops: write them as they are. Each goes on where it was.

python -m examples.guide.nested_loops
"""

import time

from resumable import checkpointed


def main() -> list[str]:
    """Train three epochs of five steps, then write two reports. Returns what was done, over all runs."""
    with checkpointed("training", progress=True) as cp:
        done = cp.log("done")
        for epoch in cp.remaining(range(3), name="epoch"):
            for step in cp.remaining(range(5), name="step"):
                time.sleep(0.01)
                done.append(f"epoch {epoch}, step {step}")
        for report in cp.remaining(["short", "long"], name="report"):
            time.sleep(0.01)
            done.append(f"{report} report")
        return list(done)


if __name__ == "__main__":
    print(len(main()), "pieces of work")
