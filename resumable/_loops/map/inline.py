"""``map``: the results of many items as they end, in the loop's own thread or over an executor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from ..._retry import retrying
from .calls import Work, settings_of
from .executors import check_executor
from .map_loop import Done
from .pool import Coordinator
from .results import Landing, MapOwner, OnError, Settings

if TYPE_CHECKING:
    import tenacity

__all__ = ["OnError", "Settings", "start"]

T = TypeVar("T")
R = TypeVar("R")


def check_function(fn: object) -> None:
    """Refuse what cannot be mapped.

    Raises:
        TypeError: If *fn* cannot be called, or is ``async``.
    """
    if not callable(fn):
        raise TypeError(f"map() needs a function, not {fn!r:.80}")
    if inspect.iscoroutinefunction(fn):
        raise TypeError("an async function needs amap(), of an async checkpoint")


def start(
    owner: MapOwner, loop: Done[T], fn: Callable[[T], R], executor: Any, settings: Settings
) -> Generator[tuple[T, R], None, None]:
    """The results of ``map``; nothing runs before the first is asked for.

    *fn* opens no loop of this checkpoint, such as ``cp.remaining``: in a pool's thread it would belong to whichever
    item's body runs at that moment. What has steps of its own takes a checkpoint of its own.

    Raises:
        TypeError: *fn* or *executor* cannot be used.
    """
    check_function(fn)
    if executor is None:
        return map_in_line(loop, owner, settings, _tried_again(fn, owner, settings.retry))
    check_executor(executor)
    return Coordinator(loop, owner, settings, Work(fn, settings_of(settings.retry)), executor).results()


def _tried_again(fn: Callable[[T], R], owner: MapOwner, policy: tenacity.BaseRetrying | None) -> Callable[[T], R]:
    if policy is None:
        return fn
    call: Callable[[Callable[[T], R], T], R] = retrying(owner, policy).copy(reraise=True)
    return lambda item: call(fn, item)


def map_in_line(
    loop: Done[T], owner: MapOwner, settings: Settings, work: Callable[[T], R]
) -> Generator[tuple[T, Any], None, None]:
    """One after the other, in the loop's own thread."""
    landing = Landing(loop, owner, settings)
    loop.begin()
    for key, item in loop.to_do():
        landing.check_in_if_due()
        loop.at(key)
        try:
            result = work(item)
        except Exception as error:
            yield from landing.give_up(key, item, error)
        else:
            landing.observe(result)
            yield item, result
            loop.finish(key)
        landing._left -= 1
    landing.check_in_if_due()
    loop.end()
