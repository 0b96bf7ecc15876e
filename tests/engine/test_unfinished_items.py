"""A save holds the end of the last done item, whatever the program does: random programs against copies."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from resumable import StoreError, checkpointed, every
from resumable._format.restore import restore
from resumable.stores import MemoryStore
from resumable.testing import FaultyStore

PROGRAMS = 100


class Model:
    """A program that does what chance tells, and copies of all that it writes at each boundary between two items.

    Each save is compared with the copy of the last boundary, by what another run would find.
    """

    def __init__(self, chance: random.Random, folder: Path) -> None:
        self.chance = chance
        self.store = FaultyStore(MemoryStore())
        self.rows = folder / "rows.txt"
        self.rows.unlink(missing_ok=True)
        self.count = self.compared = self.depth = 0
        self.has_ticked = self.has_begun = False

    def run(self) -> None:
        strategy = every(items=self.chance.choice([1, 2, 5, 1000]))
        try:
            with checkpointed("job", strategy, store=self.store) as cp:
                self.cp = cp
                cp.state["padding"] = "." * self.chance.choice([0, 200_000])  # large: saves go to a journal
                self.parts = cp.mapping("m"), cp.set("s"), cp.log("l"), cp.log("l2")
                self.sink, self.written = cp.sink(self.rows), list[str]()
                self.at = self.copies()
                for _ in range(3):
                    self.body()
                    self.chance.choice([self.loop, self.loop, self.interleaved, self.map, self.ticks])()
                self.body()
                self.expected = self.now()
                raise KeyError("the end of the run")
        except KeyError:
            self.compare(self.expected)
            # The run is over: what its last item wrote is not in the file.
            assert self.rows.read_text() == self.expected[-1]

    def copies(self) -> tuple[Any, ...]:
        mapping, members, *logs = self.parts
        return dict(mapping), set(members), *map(list, logs), "".join(self.written)

    def now(self) -> tuple[Any, ...]:
        """What a save of this moment must hold.

        The program may tick in its loop, so what it writes there before the first tick belongs to its first item,
        unless a loop hands out items.
        """
        return self.at if self.depth or self.has_ticked or not self.has_begun else self.copies()

    def boundary(self) -> None:
        self.at = self.copies()

    def compare(self, expected: tuple[Any, ...]) -> None:
        restored = restore(self.store, "job", now=datetime.now(UTC))
        assert restored is not None
        state = restored.data.state
        assert (state["m"], set(state["s"]), state["l"], state["l2"]) == expected[:-1]
        [sink] = restored.sections.sinks.values()
        assert sink["offset"] == len(expected[-1])
        self.compared += 1

    # -- what a program does

    def write(self) -> None:
        mapping, members, log, other = self.parts
        for _ in range(self.chance.randrange(4)):
            self.count += 1
            key, what = f"k{self.chance.randrange(7)}", self.chance.randrange(12)
            if what < 3:
                mapping[key] = self.chance.choice([self.count, mapping.get(key, 0), {"n": self.count}])
            elif what == 3:
                mapping.pop(key, None)
            elif what == 4:
                mapping[f"new{self.count}"] = self.count
            elif what == 5:
                mapping.setdefault(key, self.count)
            elif what == 6:
                members.add(key)
            elif what == 7:
                members.discard(key)
            elif what == 8:
                log.append(self.count)
            elif what == 9:
                other.extend([self.count, {"n": self.count}])
            else:
                row = f"{self.count}\n" * self.chance.choice([1, 1, 20_000])
                self.sink.write(row)
                self.written.append(row)

    def save(self, likely: float) -> None:
        if self.chance.random() > likely:
            return
        expected = self.now()
        if self.chance.random() < 0.2:
            self.store.fail_next("write")
            with pytest.raises(StoreError):
                self.cp.save()
            return
        self.cp.save()
        self.compare(expected)

    def body(self) -> None:
        self.write()
        self.save(0.25)
        self.write()
        self.save(0.1)

    def source(self, count: int) -> Any:
        items = range(self.count, self.count + count)
        return self.chance.choice([list, lambda items: (item for item in items)])(items)

    def remaining(self, count: int) -> Iterator[Any]:
        self.count += 1
        return self.cp.remaining(self.source(count), self.chance.choice([None, str]), name=f"loop{self.count}")

    def loop(self, within: int = 0) -> None:
        has_item, self.has_begun = False, True
        for _ in self.remaining(self.chance.randrange(9)):
            self.boundary()
            self.depth += not has_item
            has_item = True
            self.body()
            if within < 2 and self.chance.random() < 0.2:
                self.loop(within + 1)
                self.body()
        self.boundary()
        self.depth -= has_item

    def interleaved(self) -> None:
        loops = [self.remaining(self.chance.randrange(1, 9)) for _ in range(2)]
        has_item = [False, False]
        left, self.has_begun = [0, 1], True
        while left:
            i = self.chance.choice(left)
            if next(loops[i], None) is None:
                left.remove(i)
                self.depth -= has_item[i]
            else:
                self.depth += not has_item[i]
                has_item[i] = True
            self.boundary()
            self.body()

    def map(self) -> None:
        def work(item: int) -> int:
            self.boundary()
            self.depth += 1
            self.write()
            return item

        self.count, self.has_begun = self.count + 1, True
        for _ in self.cp.map(work, range(self.chance.randrange(5)), name=f"map{self.count}"):
            self.body()
            self.depth -= 1
        self.boundary()

    def ticks(self) -> None:
        for _ in range(self.chance.randrange(5)):
            self.cp.tick()
            self.has_ticked = True
            self.boundary()
            self.body()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_random_programs(part: int, tmp_path: Path) -> None:
    compared = 0
    for seed in range(part, PROGRAMS, 5):
        model = Model(random.Random(seed), tmp_path)
        try:
            model.run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        compared += model.compared
    assert compared > PROGRAMS // 5
