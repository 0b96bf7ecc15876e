"""Test your own loop: stop it at every line, tick and save, and compare with the uninterrupted run.

pytest examples/guide/testing_a_loop.py
"""

from resumable import checkpointed
from resumable.testing import prove_resumable


def word_lengths() -> dict[str, int]:
    with checkpointed("words") as cp:
        lengths = cp.mapping("lengths")
        for word in cp.remaining(["make", "any", "loop", "survive"]):
            lengths[word] = len(word)
        return dict(lengths)


def test_word_lengths_survive_any_stop() -> None:
    proof = prove_resumable(word_lengths)

    assert proof.cases > 10


if __name__ == "__main__":
    print(prove_resumable(word_lengths))
