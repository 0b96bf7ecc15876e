"""A save of another thread holds one moment, though the loop goes on to its next item while the save looks."""

from __future__ import annotations

from typing import Any

import pytest

from resumable import checkpointed, every


class Looks:
    """Counts the looks at the boundary, and has the loop take its next item at one of them."""

    def __init__(self, ticks: Any, loop: Any, at: int) -> None:
        self._ticks, self._loop, self._left = ticks, loop, at

    def __next__(self) -> bool:
        return bool(next(self._ticks))

    def __length_hint__(self) -> int:
        self._left -= 1
        if self._left == 0:
            next(self._loop)
        return int(self._ticks.__length_hint__())


@pytest.mark.parametrize("at", range(1, 9))
def test_at_whatever_look_the_loop_goes_on_rows_and_places_agree(at: int) -> None:
    with checkpointed("job", every(hours=1), store="memory://moment", resume=False) as cp:
        log, counts, members = cp.log("log"), cp.mapping("counts"), cp.set("members")
        loop = iter(cp.remaining(range(40)))
        for item in (next(loop) for _ in range(3)):
            log.append(item)
            counts[f"{item}"] = item
            members.add(item)
        cut, boundary = cp._operation.parts.cut, cp._operation.parts.cut.boundary
        boundary.ticks = Looks(boundary.ticks, loop, at)  # type: ignore[assignment]

        with cut:
            captured = cut.settle(cp._operation.parts.loops)
            snapshots = [part.begin_snapshot() for part in (log, counts, members)]

        [place] = captured.places().values()
        assert [len(one) for one in snapshots] == [place["position"]] * 3
        for part in (log, counts, members):
            part.commit()
        cp.keep()
