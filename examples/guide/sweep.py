"""A sweep over parameters, on processes: what is done is left out, and a dead worker is replaced.

python -m examples.guide.sweep
"""

import itertools
import random
import time
from concurrent.futures import ProcessPoolExecutor

from resumable import checkpointed

RATES, SIZES, SEEDS = (0.1, 0.03, 0.01), (8, 16), (1, 2)


def train(setting: tuple[float, int, int]) -> float:
    """The loss of one setting. It has a generator of its own, so that the order of work does not matter."""
    rate, size, seed = setting
    rng = random.Random(repr(setting))
    time.sleep(0.01)
    return rate * sum(rng.random() for _ in range(size)) / seed


def main(workers: int = 2) -> dict[str, float]:
    """The loss of each setting, by its name. One that fails is noted, and tried again by the next run."""
    with checkpointed("sweep") as cp:
        losses = cp.mapping("losses")
        grid = list(itertools.product(RATES, SIZES, SEEDS))
        pool = lambda: ProcessPoolExecutor(workers)  # noqa: E731
        for setting, loss in cp.map(train, grid, executor=pool, on_error="skip", retry_failed=True):
            losses[str(setting)] = loss
            print(f"{setting}: {loss:.4f}", flush=True)
        return dict(losses)


if __name__ == "__main__":
    results = main()
    print("best:", min(results, key=lambda name: results[name]))
