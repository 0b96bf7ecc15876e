"""``loop``: the small form: a ``for`` loop without a ``with`` around it, which saves only the position.

A ``for`` frees its iterator when it is left: at its end, by ``break`` or ``return``, and while an error passes. CPython
does so at once, and then the block ends. Another reference to the iterator delays that, to the end of the program at
the latest.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn
from weakref import WeakSet

from .._runtime.interpreter import error_passing, interrupt_soon
from .base import KeyOf, T
from .checkpointed import checkpointed

if TYPE_CHECKING:
    from .._loops.ledgers.by_position import Fingerprint

_log = logging.getLogger("resumable")
_NAME = "loop"


class LoopOver(Generic[T]):
    """Returned by :func:`loop`, for one ``for``."""

    def __init__(self, items: Any, operation_id: str, block: checkpointed[Any], options: dict[str, Any]) -> None:
        self._id = operation_id
        self._items, self._block, self._options = items, block, options
        self._has_begun = False
        if hasattr(items, "__aiter__") and not hasattr(items, "__iter__"):
            self.__aiter__()

    def __repr__(self) -> str:
        return f"<loop in {self._block!r}>"

    def __iter__(self) -> Iterator[T]:
        self._begin()
        steps = self._steps()
        _open.add(steps)
        return steps

    def __aiter__(self) -> NoReturn:
        """Raise: an ``async for`` does not end its iterator when it is left, so nothing would be saved."""
        raise TypeError(
            "resumable.loop is for a plain `for`: an `async for` does not end its iterator when it is left, so `break` "
            f"or an error would not save. Write a block:  async with checkpointed({self._id!r}) as cp:  "
            "async for item in cp.remaining(items)"
        )

    def _begin(self) -> None:
        if self._has_begun:
            raise RuntimeError("this loop has run already; call resumable.loop() again")
        self._has_begun = True

    def _steps(self) -> Generator[T, None, None]:
        block = self._block
        cp = block.__enter__()
        try:
            yield from cp.remaining(self._items, name=_NAME, **self._options)
        except GeneratorExit:
            _leave(block, error_passing())
            raise
        except BaseException as error:
            block.__exit__(type(error), error, error.__traceback__)
            raise
        block.__exit__(None, None, None)


def _leave(block: checkpointed[Any], error: BaseException | None) -> None:
    """End the *block* of a loop that was left at an item. Errors can only be logged here."""
    try:
        block.__exit__(type(error), error, None)
    except (KeyboardInterrupt, SystemExit) as stop:  # came at the last moment
        interrupt_soon(stop)
    for note in getattr(error, "__notes__", ()) if type(error) is RuntimeError else ():
        _log.warning("%s", note.removeprefix("resumable: "))


_open: WeakSet[Generator[Any, None, None]] = WeakSet()


@atexit.register
def _close_all() -> None:
    """End the loops whose iterators are still referenced."""
    for steps in list(_open):
        steps.close()


def loop(
    items: Iterable[T],
    operation_id: str,
    *,
    key: KeyOf = None,
    fingerprint: Fingerprint = "sampled",
    limit: int | None = None,
    **options: Any,
) -> LoopOver[T]:
    """The *items* that are not done yet, for one ``for`` loop that needs no ``with``.

    In async code use the block: an ``async for`` does not end its iterator when it is left, and is refused.

    It is a :class:`checkpointed` block around ``cp.remaining``, which begins with the first item and ends with the
    loop. After the last item, the checkpoint is removed. It is saved and kept if the loop is left by ``break``,
    ``return``, an error in its body, Ctrl-C or SIGTERM; the item at which it was left is done again.

    On CPython the block ends at once, before an ``except`` around the loop runs. On other Pythons it ends later, at the
    end of the program at the latest; so it does if something else refers to the iterator, such as
    ``it = iter(loop(...))``. Write results to your own files, or use the block:
    ``with checkpointed(...) as cp`` saves a state, too. In the body, ``current_checkpoint()`` returns the checkpoint.

    Example:
        >>> from resumable import loop
        >>> for number in loop(range(3), "squares"):
        ...     print(number * number)
        0
        1
        4

    Args:
        items: The input, as for :meth:`Checkpoint.remaining`; so are *key*, *fingerprint* and *limit*.
        operation_id: Names the operation: any text, equal in every run.
        options: Those of :class:`checkpointed`, such as ``progress=True``.

    Raises:
        TypeError, ValueError: An option is wrong; or *items* need ``async for``.
        CheckpointBusyError, CheckpointCorruptError, InputChangedError: When the ``for`` begins, as on entry to a block.
        RuntimeError: A second ``for`` iterates over it.
    """
    how = {"key": key, "fingerprint": fingerprint, "limit": limit}
    return LoopOver(items, operation_id, checkpointed(operation_id, **options), how)
