"""Logging: log lines and prints stand above the bar, and the library has loggers of its own.

python -m examples.guide.logs
"""

import logging
import time

from resumable import checkpointed

log = logging.getLogger("my.job")


def main() -> None:
    with checkpointed("logged", progress=True) as cp:
        for number in cp.remaining(range(20)):
            time.sleep(0.01)
            if number % 5 == 0:
                log.info("item %d", number)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("resumable.retry").setLevel(logging.WARNING)  # retries only when they give up
    main()
