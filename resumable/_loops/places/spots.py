"""The places of loops by the frames that lead to them, for loops that are made again and again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from operator import attrgetter
from types import CodeType, FrameType

from .place import DEEPEST, Frame, Stack, frames

_MANY = 4096
offset_of: Callable[[FrameType], int] = attrgetter("f_lasti")
"""The bytecode offset of a frame."""


def point(frame: FrameType) -> int:
    """A number for the code of *frame* and its offset; another code may have it, too."""
    return id(frame.f_code) + frame.f_lasti


class Way:
    """The frames from the one that makes a loop to the one where its place begins.

    Attributes:
        code: The code of the first frame.
        offset: Its bytecode offset.
        outer: Code and offset of each of the others.
        end: The address of the last frame.
        around: The frame of the loop around.
        is_suspended: Whether that frame may be alive without being on the stack.
        key: The place.
    """

    __slots__ = ("_first", "around", "code", "end", "is_suspended", "key", "offset", "outer")

    def __init__(self, frame: FrameType, length: int, around: Frame | None, is_suspended: bool, key: str) -> None:
        path = [*islice(frames(frame), length)]
        self.code, self.offset = frame.f_code, frame.f_lasti
        self.outer = [(one.f_code, one.f_lasti) for one in path[1:]]
        self._first = self.outer[0][1] if self.outer else -1
        self.end = id(path[-1])
        self.around, self.is_suspended, self.key = around, is_suspended, key

    def leads_from(self, frame: FrameType) -> bool:
        """Whether the frames around *frame*, which stands where the first one did, are the others."""
        here = frame.f_back
        if id(here) == self.end:  # as most often; a frame that is under way has no other code
            return here.f_lasti == self._first and len(self.outer) == 1  # type: ignore[union-attr]
        for code, offset in self.outer:
            if here is None or here.f_lasti != offset or here.f_code is not code:
                return False
            if id(here) == self.end:
                return True
            here = here.f_back
        return not self.outer and id(frame) == self.end


class Spots:
    """Remembers the places of loops by the frames that lead to them: code and offset of each.

    Args:
        outside: The stack when the checkpoint was opened.
    """

    def __init__(self, outside: Stack) -> None:
        self._outside = outside
        self._openers = frozenset(code for _, code in outside)
        # With the code objects: while they live, nothing else gets their addresses.
        self._keys: dict[tuple[int, ...], tuple[str, list[CodeType]]] = {}
        # The last path from each code and offset: most often, the next loop there takes the same one.
        self._last: dict[int, Way] = {}

    def note(self, frame: FrameType, key: str, around: Frame | None, *, is_suspended: bool) -> None:
        """*frame* makes a loop at the place *key*; see :meth:`find`."""
        codes: list[CodeType] = []
        path = self._path(frame, around, is_suspended, codes.append)
        if path is not None:
            if len(self._keys) >= _MANY:
                self._keys.clear()
            self._keys[path] = key, codes
            self._last.clear()

    def is_opener(self, frame: FrameType) -> bool:
        """Whether *frame* runs code that was under way when the checkpoint was opened."""
        return id(frame.f_code) in self._openers

    def find(self, frame: FrameType, around: Frame | None, is_suspended: bool) -> Way | None:
        """The way to a loop that *frame* makes; None if it made none there yet, or is the library's.

        Args:
            around: The frame of the loop around.
            is_suspended: Whether that frame may be alive without being on the stack.
        """
        code, offset = frame.f_code, frame.f_lasti
        last = self._last.get(point(frame))
        if (
            last is not None
            and last.code is code
            and last.offset == offset
            and last.around == around
            and last.is_suspended is is_suspended
            and last.leads_from(frame)
            and not (last.outer and (id(frame), id(code)) in self._outside)
        ):
            return last
        path = self._path(frame, around, is_suspended)
        found = self._keys.get(path) if path is not None else None
        if path is None or found is None:
            return None
        if len(self._last) >= _MANY:
            self._last.clear()
        way = self._last[point(frame)] = Way(frame, len(path) // 2 - 1, around, is_suspended, found[0])
        return way

    def way(self, frame: FrameType, around: Frame | None, is_suspended: bool) -> Way | None:
        """The way to a loop with a name that *frame* makes; None if it is too long. See :meth:`find`."""
        path = self._path(frame, around, is_suspended)
        return None if path is None else Way(frame, len(path) // 2 - 1, around, is_suspended, "")

    def _path(
        self, frame: FrameType, stop: Frame | None, is_suspended: bool, note: Callable[[CodeType], None] | None = None
    ) -> tuple[int, ...] | None:
        """The frames from *frame* to the one that iterates over the loop around, or that opened the checkpoint."""
        path: list[int] = []
        here: FrameType | None = frame
        while here is not None and len(path) < 2 * DEEPEST:
            code = here.f_code
            where = id(here), id(code)
            path += (where[1], here.f_lasti)
            if note is not None:
                note(code)
            is_outside = where in self._outside
            if where == stop or (is_outside and (stop is None or is_suspended)):
                return (*path, where == stop, is_outside)
            if is_outside:
                return None
            here = here.f_back
        return None
