"""Generators and loaders that go with the checkpoint: the stream goes on where the loop does."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, StateEncodeError, checkpointed, every, resumable


class Stop(Exception):
    """Ends a run as an error of the program's own does."""


def generators() -> dict[str, Callable[[], tuple[Any, Callable[[], float]]]]:
    def of_random() -> Any:
        rng = random.Random(1)
        return rng, rng.random

    def of_module() -> Any:
        random.seed(1)
        return random, random.random

    found: dict[str, Any] = {"random.Random": of_random, "random": of_module}
    with contextlib.suppress(ImportError):
        import numpy as np

        def of_numpy(bits: Any) -> Any:
            rng = np.random.Generator(bits(1))
            return rng, lambda: float(rng.normal()) + int(rng.integers(9, dtype=np.int32))

        for bits in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64):
            found[bits.__name__] = lambda bits=bits: of_numpy(bits)

        def of_bits() -> Any:
            rng = np.random.default_rng(1)
            return rng.bit_generator, lambda: float(rng.random())

        def of_state() -> Any:
            rng = np.random.RandomState(1)
            return rng, rng.normal  # keeps every second number for the next call

        def of_numpys_module() -> Any:
            np.random.seed(1)
            return np.random, np.random.normal

        found |= {"bit generator": of_bits, "RandomState": of_state, "numpy.random": of_numpys_module}
    return found


MAKERS = generators()


def nested(cp: Any, draw: Callable[[], float], stop_at: int) -> list[Any]:
    """Draws between, before and after loops within loops; the item *stop_at* of this run is left half-way."""
    log, count = cp.log("log"), 0
    for outer in cp.remaining(range(3)):
        first = draw()
        for name in ("a", "b"):
            between = draw()
            for inner in cp.remaining(range(3), name=f"{name}{outer}"):
                log.append([outer, name, inner, first, between, draw()])
                count += 1
                if count == stop_at:
                    draw()
                    raise Stop
        log.append([outer, draw()])
    return list(log)


@pytest.mark.parametrize("stop_at", [1, 2, 4, 5, 7])
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.slow
def test_the_stream_goes_on_bit_by_bit_in_nested_loops(name: str, stop_at: int, tmp_path: Path) -> None:
    def run(store: str, stop: int) -> list[Any]:
        generator, draw = MAKERS[name]()
        with checkpointed("job", every(items=2), store=tmp_path / store) as cp:
            assert cp.track(generator) is generator
            return nested(cp, draw, stop)

    right = run("right", 0)
    left = stop_at + 2
    with contextlib.suppress(Stop):
        run("stopped", stop_at)
    for _ in range(3):
        with contextlib.suppress(Stop):
            assert run("stopped", left) == right
            return
    assert run("stopped", 0) == right


def test_it_goes_on_where_items_are_ticked_by_hand(tmp_path: Path) -> None:
    numbers: list[float] = []
    for stop_at in (3, 7, 99):
        with contextlib.suppress(Stop), checkpointed("job", every(hours=1), store=tmp_path) as cp:
            rng = cp.track(random.Random(1), name="rng")
            done = cp.state.get("done", 0)
            del numbers[done:]
            for number in range(done, 10):
                numbers.append(rng.random())
                if number == stop_at:
                    raise Stop
                cp.state["done"] = number + 1
                cp.tick()
    expected = random.Random(1)
    assert numbers == [expected.random() for _ in range(10)]


def saved_inside(store: Path, stop_at: int) -> list[float]:
    with checkpointed("job", every(items=1), store=store) as cp:
        rng, done = cp.track(random.Random(1)), cp.state.setdefault("done", [])
        for number in range(len(done), 6):
            drawn = rng.random()
            if number == stop_at:
                cp.save()
                raise Stop
            done.append(drawn)
            cp.tick()
        return [*done]


def saved_inside_with_rows(store: Path, stop_at: int) -> list[float]:
    with checkpointed("job", every(items=1), store=store) as cp:
        rng, rows = cp.track(random.Random(1)), cp.log("rows")
        for number in range(cp.state.get("done", 0), 6):
            rows.append(rng.random())
            cp.once(number, lambda: None)
            if number == stop_at:
                raise Stop
            cp.state["done"] = number + 1
            cp.tick()
        return [*rows]


def saved_without_ticks(store: Path, stop_at: int) -> list[float]:
    with checkpointed("job", every(items=1), store=store) as cp:
        rng, done = cp.track(random.Random(1)), cp.state.setdefault("done", [])
        while len(done) < 6:
            done.append(rng.random())
            cp.save()
            if len(done) == stop_at + 1:
                raise Stop
        return [*done]


def stopped_before_the_loop(store: Path, stop_at: int) -> list[float]:
    with checkpointed("job", every(items=1), store=store) as cp:
        rng, rows = cp.track(random.Random(1)), cp.log("rows")
        first = rng.random()
        if stop_at < 6:
            raise Stop
        for _ in cp.remaining(range(5)):
            rows.append(rng.random())
        return [first, *rows]


@pytest.mark.parametrize("stops", [(0, 0), (0, 1), (2, 3), (3, 3)], ids=str)
@pytest.mark.parametrize(
    "program", [saved_inside, saved_inside_with_rows, saved_without_ticks, stopped_before_the_loop]
)
def test_a_save_inside_an_item_neither_repeats_nor_skips_numbers(
    program: Callable[[Path, int], list[float]], stops: tuple[int, ...], tmp_path: Path
) -> None:
    for stop_at in stops:
        with contextlib.suppress(Stop):
            program(tmp_path, stop_at)
    expected = random.Random(1)
    assert program(tmp_path, 99) == [expected.random() for _ in range(6)]


def test_a_resumed_run_finds_the_state_at_once(tmp_path: Path) -> None:
    with contextlib.suppress(Stop), checkpointed("job", store=tmp_path) as cp:
        rng = cp.track(random.Random(1))
        leave_at(cp, 5, rng.random)
    expected = random.Random(1)
    for _ in range(5):
        expected.random()
    with checkpointed("job", store=tmp_path) as cp:
        assert cp.track(random.Random(2)).random() == expected.random()
        cp.keep()


def leave_at(cp: Any, last: int, work: Callable[[], object]) -> None:
    for number in cp.remaining(range(10)):
        work()
        if number == last:
            raise Stop


def test_it_goes_on_in_async_code(tmp_path: Path) -> None:
    async def run(store: str, stop_at: int) -> list[Any]:
        async with checkpointed("job", every(items=2), store=tmp_path / store) as cp:
            rng, log = cp.track(random.Random(1)), cp.log("log")
            async for number in cp.remaining(range(6)):
                log.append(rng.random())
                if number == stop_at:
                    raise Stop
            return list(log)

    right = asyncio.run(run("right", 99))
    for stop_at in (1, 4):
        with pytest.raises(Stop):
            asyncio.run(run("stopped", stop_at))
    assert asyncio.run(run("stopped", 99)) == right


class Loader:
    """A loader that can tell where it is."""

    def __init__(self, **more: Any) -> None:
        self.at, self.more = 0, more

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, **self.more}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]


def test_what_has_a_state_dict_goes_on(tmp_path: Path) -> None:
    with contextlib.suppress(Stop), checkpointed("job", store=tmp_path) as cp:
        loader = cp.track(Loader())

        def work() -> None:
            loader.at += 1

        leave_at(cp, 4, work)
    with checkpointed("job", store=tmp_path) as cp:
        assert cp.track(Loader()).at == 4
        cp.keep()


def test_a_state_that_is_no_json_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        with pytest.raises(StateEncodeError, match=r"\$\.tracked\.Loader\.weights.*use an artifact"):
            cp.track(Loader(weights={1, 2}))
        with pytest.raises(TypeError, match="SystemRandom has no state"):
            cp.track(random.SystemRandom())
        with pytest.raises(TypeError, match="takes random generators"):
            cp.track(object())
        cp.track(random.Random(1))
        with pytest.raises(ValueError, match="give each a name"):
            cp.track(random.Random(2))
        cp.track(random.Random(2), name="other")


def test_a_class_and_a_name_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        with pytest.raises(TypeError, match=r"takes an object, such as cp\.track\(Random\(\)\), not the class Random"):
            cp.track(random.Random)
        with pytest.raises(StateEncodeError, match="the name of a tracked object"):
            cp.track(random.Random(), name="\ud800")


def test_a_saved_state_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with contextlib.suppress(Stop), checkpointed("job", store=tmp_path) as cp:
        leave_at(cp, 2, cp.track(random.Random(1), name="rng").random)
    with (
        pytest.raises(ValueError, match="the saved state of 'rng' does not fit it"),
        checkpointed("job", store=tmp_path) as cp,
    ):
        cp.track(Loader(), name="rng")


class Counter:
    """Counts how many times it was asked."""

    def __init__(self) -> None:
        self.count = 0

    def ask(self) -> int:
        self.count += 1
        return self.count

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


@pytest.mark.parametrize("outer", ["by position", "by key", "a generator"])
@pytest.mark.parametrize("stops", [[0], [4], [0, 4], [5, 1], [7, 0, 2]], ids=str)
def test_objects_stand_where_the_inner_loop_stood(outer: str, stops: list[int], tmp_path: Path) -> None:
    """A loop by key tells of its place twice: as it passes over what is done, and before the item that comes next."""

    def run(stop: int | None) -> list[int]:
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            counter, numbers, done = cp.track(Counter()), cp.log("numbers"), 0
            items = [f"item {number}" for number in range(4)]
            given = {"by position": (range(4), None), "by key": (items, str), "a generator": (iter(items), None)}
            for _ in cp.remaining(given[outer][0], key=given[outer][1]):
                for _ in cp.remaining(range(3)):
                    numbers.append(counter.ask())
                    if done == stop:
                        raise Stop
                    done += 1
            return list(numbers)

    for stop in stops:
        with contextlib.suppress(Stop):
            run(stop)

    assert run(None) == list(range(1, 13))


@pytest.mark.parametrize("stop", range(3, 6))
@pytest.mark.parametrize("kind", ["by position", "by key", "of a generator", "map"])
def test_numbers_go_on_behind_an_inner_loop_that_had_ended(kind: str, stop: int, tmp_path: Path) -> None:
    def inner(cp: Any) -> Any:
        if kind == "map":
            return cp.map(str, range(2))
        return cp.remaining(iter("ab") if kind == "of a generator" else ["a", "b"], key=str if "key" in kind else None)

    def run(stop_at: int) -> list[float]:
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            rng, log = cp.track(random.Random(1)), cp.log("log")
            for _ in cp.remaining(range(3)):
                for _ in inner(cp):
                    log.append(rng.random())
                    if len(log) == stop_at:
                        raise Stop
                if len(log) == stop_at - 1:
                    raise Stop
                log.append(rng.random())
            return [*log]

    with pytest.raises(Stop):
        run(stop)
    expected = random.Random(1)
    assert run(99) == [expected.random() for _ in range(9)]


def test_the_next_attempt_of_a_function_goes_on(tmp_path: Path) -> None:
    tenacity = pytest.importorskip("tenacity")
    attempts: list[int] = []

    @resumable(
        operation_id="job",
        store=tmp_path,
        retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(3), sleep=lambda _: None, reraise=True),
    )
    def job(cp: Checkpoint) -> list[float]:
        attempts.append(1)
        rng, log = cp.track(random.Random(1)), cp.log("log")
        for number in cp.remaining(range(6)):
            log.append(rng.random())
            if number == 2 * len(attempts) and len(attempts) < 3:
                del log
                raise Stop
        return list(cp.log("log"))

    numbers, expected = job(), random.Random(1)
    assert numbers[-1] == [expected.random() for _ in range(6)][-1]
    assert len(attempts) == 3
