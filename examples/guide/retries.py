"""Retries by tenacity: the checkpoint is saved before each sleep.

python -m examples.guide.retries
"""

import random

import tenacity

from resumable import Checkpoint, resumable

POLICY = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(ConnectionError),  # only what may go better next time
    stop=tenacity.stop_after_attempt(10),
    wait=tenacity.wait_fixed(0.01),
    reraise=True,  # the last error itself, no RetryError
)


def ask(number: int) -> int:
    if random.random() < 0.1:
        raise ConnectionError("the line is bad")
    return number * 2


@resumable(operation_id="doubles_{count}", retry=POLICY)
def doubles(cp: Checkpoint, count: int) -> list[int]:
    """A failure ends the loop; the next attempt goes on with the item that failed."""
    answers = cp.log("answers")
    for number in cp.remaining(range(count)):
        answers.append(ask(number))
    return list(answers)


if __name__ == "__main__":
    print(doubles(40))
