"""A run that another thread or process watches, and asks something of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from resumable import Checkpoint
from resumable._report.wishes import asked_of, take_back
from resumable.stores import FileStore


def until(fact: Callable[[], Any]) -> Any:
    """What *fact* says once that is true."""
    end = time.monotonic() + 60
    while not (found := fact()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
    return found


def store() -> FileStore:
    return FileStore("ck")


def go_on() -> None:
    """Take back what was asked."""
    asked = asked_of(store(), "job")
    assert asked is not None
    take_back(store(), "job", asked)


def work(cp: Checkpoint[Any], until_: Callable[[int], Any], items: int = 100_000) -> None:
    """Go through items until something is true at the tenth."""
    cp.save()
    for number in cp.remaining(range(items)):
        if number == 10:
            until(lambda: until_(10))
            break


def noting(work: Callable[[], None], errors: list[BaseException]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    return run
