"""A place is found again by the frames that lead to it; other frames never pass for them."""

from __future__ import annotations

import sys
from types import FrameType

from resumable._loops.places.spots import Spots, point
from resumable._runtime.interpreter import stack


def iter_frames() -> list[FrameType]:
    return [sys._getframe()]


class Maker:
    """Makes loops: looks up the place of each, and notes it if it is new."""

    def __init__(self) -> None:
        self.spots = Spots(stack())
        self.found: list[str | None] = []

    def make(self, around: tuple[int, int] | None = None) -> None:
        frame = sys._getframe(1)
        way = self.spots.find(frame, around, False)
        self.found.append(None if way is None else way.key)
        if way is None:
            self.spots.note(frame, f"place {len(self.found)}", around, is_suspended=False)

    def make_in_a_function(self) -> None:
        self.make()


def test_a_place_is_found_again_where_the_same_frames_stand_at_the_same_offsets() -> None:
    maker = Maker()
    for _ in range(3):
        maker.make()
    for _ in range(3):
        maker.make()

    assert maker.found == [None, "place 1", "place 1", None, "place 4", "place 4"]


def test_a_function_that_is_called_from_another_line_leads_to_another_place() -> None:
    maker = Maker()
    for _ in range(2):
        maker.make_in_a_function()
        maker.make_in_a_function()

    assert maker.found == [None, None, "place 1", "place 2"]


def test_a_loop_around_is_part_of_the_way() -> None:
    maker = Maker()
    frame = sys._getframe()
    for around in (None, (id(frame), id(frame.f_code)), None):
        maker.make(around)

    assert maker.found == [None, None, "place 1"]


def test_a_way_may_pass_through_the_code_that_opened_the_checkpoint() -> None:
    maker = Maker()

    def called() -> None:
        maker.make()

    for _ in range(3):
        called()

    assert maker.found == [None, "place 1", "place 1"]
    assert maker.spots.is_opener(sys._getframe())
    assert [maker.spots.is_opener(one) for one in iter_frames()] == [False]


def test_a_point_tells_offsets_of_one_code_apart() -> None:
    frame = sys._getframe()

    assert point(frame) != point(frame)
