"""A Markov chain that resumes exactly: its samples are those of an uninterrupted run.

python -m examples.guide.mcmc
"""

import math
import random
import time

from resumable import checkpointed


def log_density(x: float) -> float:
    """The log density of two normal distributions, around -2 and 2."""
    return math.log(math.exp(-((x - 2) ** 2)) + math.exp(-((x + 2) ** 2)))


def main(steps: int = 100, seed: int = 1) -> list[float]:
    """A chain of Metropolis. Generator, samples and position come from one save, so that they fit together."""
    with checkpointed("chain") as cp:
        rng = cp.track(random.Random(seed))
        samples = cp.log("samples")
        x = samples[-1] if samples else 0.0
        for _ in cp.remaining(range(steps)):
            time.sleep(0.01)
            proposal = x + rng.gauss(0, 1)
            if rng.random() < math.exp(min(0.0, log_density(proposal) - log_density(x))):
                x = proposal
            samples.append(x)
        return list(samples)


if __name__ == "__main__":
    chain = main()
    print(f"{len(chain)} samples, mean {sum(chain) / len(chain):.3f}")
