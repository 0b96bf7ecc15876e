"""A training loop that can be killed at any time, and ends bit by bit as one that nobody stopped.

python -m examples.guide.training

With torch: torch.save(model.state_dict(), path), model.load_state_dict(torch.load(model_file.path)), cp.track(torch).
"""

import time

import numpy as np

from resumable import checkpointed, every

EPOCHS, STEPS, RATE = 3, 30, 0.05


def main() -> list[float]:
    """The losses of all steps. Model, generator, losses and place come from one save, so that they fit together."""
    truth = np.arange(1.0, 6.0)
    with checkpointed("training", every(items=7) | every(seconds=1), total=EPOCHS * STEPS) as cp:
        model, rng, losses = cp.artifact("model"), cp.track(np.random.default_rng(1)), cp.log("losses")
        weights = np.load(model.path)["weights"] if model.exists else np.zeros(5)
        for _epoch in cp.remaining(range(EPOCHS), name="epoch"):
            for _step in cp.remaining(range(STEPS), name="step"):
                batch = rng.normal(size=(16, 5))
                errors = batch @ (weights - truth)
                weights = weights - RATE * batch.T @ errors / len(batch)
                losses.append(float((errors**2).mean()))
                with model.write() as path:  # a large one: each few hundred steps, and at the end
                    np.savez(path, weights=weights)
                time.sleep(0.01)
        model.publish("weights.npz")
        return list(losses)


if __name__ == "__main__":
    print(f"loss {main()[-1]:.6f}")
