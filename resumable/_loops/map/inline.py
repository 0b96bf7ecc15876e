"""``map``: checks its arguments, then works in the loop's own thread, or starts a coordinator over an executor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from ..._retry import retrying
from ..._runtime.boundary import InlineCalls, working_for
from .calls import MappedFunction, settings_of
from .executors import check_executor
from .map_loop import MapLoop
from .pool import Coordinator
from .results import PLAIN, MapOwner, MapSettings, PlainResultHandler

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")
R = TypeVar("R")


def start(
    owner: MapOwner[int], loop: MapLoop[T], fn: Callable[[T], R], executor: Any, settings: MapSettings
) -> Generator[tuple[T, R], None, None]:
    """Start ``map``; nothing runs before the first result is asked for.

    A loop of this checkpoint that *fn* makes in this process, such as ``cp.remaining``, belongs to the map's item.

    Raises:
        TypeError: *fn* or *executor* cannot be used.
    """
    if not callable(fn):
        raise TypeError(f"map() needs a function, not {fn!r:.80}")
    if inspect.iscoroutinefunction(fn):
        raise TypeError("an async function needs amap() of an async checkpoint")
    if executor is None:
        results = map_inline(loop, owner, settings, _with_retry(fn, owner, settings.retry))
    else:
        check_executor(executor)
        mapped = MappedFunction(fn, settings_of(settings.retry))
        results = Coordinator(loop, owner, settings, mapped, executor).results()
    loop.keep_by(results)
    return results


def _with_retry(fn: Callable[[T], R], owner: MapOwner[int], policy: tenacity.BaseRetrying | None) -> Callable[[T], R]:
    if policy is None:
        return fn
    call: Callable[[Callable[[T], R], T], R] = retrying(owner, policy).copy(reraise=True)
    return lambda item: call(fn, item)


def map_inline(
    loop: MapLoop[T], owner: MapOwner[int], settings: MapSettings, fn: Callable[[T], R]
) -> Generator[tuple[T, Any], None, None]:
    """Call *fn* for one item after the other, in the loop's own thread."""
    handler = PlainResultHandler(loop, owner, settings)
    loop.begin()
    ticks, left = loop.ticks, 0
    with InlineCalls() as calls:
        for key, item in loop.to_do_and_again():
            if left <= 0 or not loop.flags:
                handler.check_in()
                left = handler.left
            loop.current, loop.is_out = key, True
            next(ticks)
            if working_for.get() is not calls:
                calls.attend()
            calls.item = loop, key
            try:
                try:
                    result = fn(item)
                finally:
                    calls.item = calls.around
            except Exception as error:
                yield from handler.give_up(key, item, error)
            else:
                if type(result) not in PLAIN:
                    handler.observe(result)
                yield item, result
                loop.finish(key)
                next(ticks)
                loop.is_out = False
            left -= 1
    if left <= 0 or not loop.flags:
        handler.check_in()
    loop.end()
