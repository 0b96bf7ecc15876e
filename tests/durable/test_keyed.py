"""What the workers of a map write to a dict or set counts once their item is done, whatever others write meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from resumable._durable.changes import Replay
from resumable._durable.dict import DurableDict
from resumable._durable.set import DurableSet
from resumable._runtime.boundary import Boundary, HeldBack, working_for

KEYS = "abcd"
GONE = object()


class Model:
    """Who has written what, in order; each is ``under way``, ``done`` or ``failed``."""

    def __init__(self) -> None:
        self.writes: list[tuple[Any, str, Any]] = []
        self.state: dict[Any, str] = {}

    def _held(self, states: set[str]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for who, key, value in self.writes:
            if self.state[who] in states:
                held[key] = value
        return {key: value for key, value in held.items() if value is not GONE}

    def memory(self) -> dict[str, Any]:
        return self._held({"under way", "done"})

    def saved(self) -> dict[str, Any]:
        return self._held({"done"})


class Item:
    """Stands for the item of a map that a worker works on."""

    def __init__(self, held_back: HeldBack) -> None:
        self._held_back = held_back

    def held_back_for(self, key: Any, /) -> HeldBack:
        return self._held_back


class Machine:
    """A mapping and a set, written by the body of a map's loop and by workers, and saved, in random order."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.boundary = Boundary()
        loaded = {key: -1 for key in KEYS if self.random.random() < 0.4}
        self.mapping, self.members = DurableDict(dict(loaded)), DurableSet(list(loaded))
        self.boundary.writers = [self.mapping, self.members]
        for one in self.boundary.writers:
            one.attach(self.boundary)
        self.boundary.share(1)
        self.model = Model()
        self.model.state["loaded"] = "done"
        self.model.writes += [("loaded", key, -1) for key in loaded]
        self.stored: list[Any] = [dict(loaded), list(loaded)]
        self.workers: dict[int, HeldBack] = {}
        self.made = 0
        self.body: Any = None

    # -- steps

    def begin_item(self) -> None:
        if len(self.workers) < 4:
            self.made += 1
            self.workers[self.made] = HeldBack()
            self.model.state[self.made] = "under way"

    def worker_writes(self) -> None:
        if self.workers:
            number = self.random.choice(list(self.workers))
            token = working_for.set((Item(self.workers[number]), number))
            self._write(number)
            working_for.reset(token)

    def body_writes(self) -> None:
        if self.body is None:  # beside all items, it counts from the next save on
            who: Any = object()
            self.model.state[who] = "done"
            self._write(who)
            self.boundary.move()
        else:
            self._write(self.body)

    def _write(self, who: Any) -> None:
        key, value = self.random.choice(KEYS), self.random.randrange(1000)
        if self.random.random() < 0.3:
            self.mapping.pop(key, None)
            self.members.discard(key)
            value = GONE
        else:
            self.mapping[key] = value
            self.members.add(key)
        self.model.writes.append((who, key, value))

    def body_goes_on(self) -> None:
        if self.body is not None:
            self.model.state[self.body] = "done"
            self.body = None
            self.boundary.move()
        elif self.workers:
            self.body = self.random.choice(list(self.workers))
            self.boundary.move()
            self.workers.pop(self.body).write(self.boundary.now())

    def item_fails(self) -> None:
        if self.workers:
            number = self.random.choice(list(self.workers))
            self.workers.pop(number).drop()
            self.model.state[number] = "failed"

    def save(self) -> None:
        is_whole, fails = self.random.random() < 0.3, self.random.random() < 0.2
        expected = self.model.saved()
        changes: list[Any] = []
        with self.boundary.lock:
            for one in self.boundary.writers:
                one.hold()
            if self.body is None:
                self.boundary.move()
            for one in self.boundary.writers:
                one.settle(self.boundary.now())
            for one in (self.mapping, self.members):
                changes.append(one.begin_snapshot() if is_whole else one.begin())
            for one in self.boundary.writers:
                one.let_go()
        if self.random.random() < 0.3:
            self.worker_writes()
        for index, (one, change) in enumerate(zip((self.mapping, self.members), changes, strict=True)):
            if fails:
                one.rollback()
                continue
            one.commit()
            if is_whole:
                self.stored[index] = json.loads(b"".join(change))
            elif change is not None:
                replay = Replay(self.stored[index])
                replay.apply(json.loads(json.dumps(change)))
                self.stored[index] = replay.result()
        if not fails:
            mapping, members = self.stored
            assert mapping == expected
            assert sorted(members) == sorted(expected)

    def end(self) -> None:
        for number in list(self.workers):
            if self.body is not None:
                self.body_goes_on()
            self.body = number
            self.boundary.move()
            self.workers.pop(number).write(self.boundary.now())
        if self.body is not None:
            self.body_goes_on()
        self.boundary.share(-1)

    def check_memory(self) -> None:
        expected = self.model.memory()
        assert dict(self.mapping) == expected
        assert self.members == set(expected)


@pytest.mark.parametrize("seed", range(300))
def test_random_writes_of_bodies_and_workers(seed: int) -> None:
    machine = Machine(seed)
    steps: list[Callable[[], None]] = [
        *[machine.worker_writes] * 5,
        *[machine.body_writes] * 2,
        *[machine.begin_item, machine.body_goes_on, machine.save] * 2,
        machine.item_fails,
    ]
    for _ in range(80):
        machine.random.choice(steps)()
        machine.check_memory()
    machine.end()
    machine.check_memory()
    for _ in range(10):
        machine.body_writes()
        machine.save()


def test_a_value_that_a_worker_has_assigned_may_change_until_the_save() -> None:
    """Before the save that counts it, the value is the object that was assigned."""
    boundary, mapping, held_back = Boundary(), DurableDict(), HeldBack()
    boundary.writers = [mapping]
    mapping.attach(boundary)
    boundary.share(1)
    token = working_for.set((Item(held_back), 0))
    mapping["page"] = page = {"n": 1}
    working_for.reset(token)
    page["n"] = 2
    held_back.write(boundary.now())
    boundary.move()
    mapping.hold()
    mapping.settle(boundary.now())

    assert mapping.begin() == {"set": {"page": {"n": 2}}}
