"""Functions that gather all items of a loop before the work on any of them."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_list(cp: Any) -> None:
    for _ in list(cp.remaining(range(5))):
        raise ConnectionError


def in_sorted(cp: Any) -> None:
    for _ in sorted(cp.remaining([3, 1, 2]), key=str, reverse=True):
        raise ConnectionError


def in_more(cp: Any) -> None:
    for _, _ in enumerate(reversed(list(cp.remaining(range(5)))), 1):
        raise ConnectionError


def in_map(cp: Any) -> None:
    for _, _ in sorted(cp.map(str, range(5))):
        raise ConnectionError


def from_variable(cp: Any) -> None:
    loop = cp.remaining(range(5))
    for _ in set(loop):
        raise ConnectionError


@pytest.mark.parametrize("job", [in_list, in_sorted, in_more, in_map, from_variable])
def test_items_gathered_in_the_head_of_a_for_are_refused_before_one_is_taken(job: Callable[[Any], None]) -> None:
    """An error in the body would find all items done, and the next run would do none."""
    with (
        pytest.raises(RuntimeError, match=r"takes all items before the work on the first one.*cp\.(remaining|mapping)"),
        checkpointed("job", every(items=1)) as cp,
    ):
        job(cp)


def test_without_source_they_are_refused_too() -> None:
    """Code without source lines, as in a frozen program or in exec."""
    code = "def job(cp):\n    for item in list(cp.remaining(range(3))):\n        pass\n"
    names: dict[str, Any] = {}
    exec(compile(code, "<no file>", "exec"), names)

    with (
        checkpointed("job") as cp,
        pytest.raises(RuntimeError, match=r"put it inside, cp\.remaining\(list\(\.\.\.\)\)"),
    ):
        names["job"](cp)


def test_in_the_head_of_a_long_loop_they_are_refused_too() -> None:
    """A jump over many instructions has an instruction more."""
    body = "".join(f"        n = n + {number} if n < {number} else n - {number}\n" for number in range(60))
    names: dict[str, Any] = {}
    exec(f"def job(cp):\n    n = 0\n    for item in sorted(cp.remaining(range(3))):\n{body}", names)

    with checkpointed("job") as cp, pytest.raises(RuntimeError, match=r"cp\.remaining\(sorted\(\.\.\.\)\)"):
        names["job"](cp)


GATHERED: dict[str, Callable[[Any], Any]] = {
    "list()": lambda cp: list(cp.remaining(range(6), name="items")),
    "dict()": lambda cp: dict(cp.map(str, range(6), name="items")),
    "sum()": lambda cp: sum(item for item in cp.remaining(range(6), name="items")),
    "[*…]": lambda cp: [*cp.remaining(range(6), name="items")],
    "a comprehension": lambda cp: [str(item) for item in cp.remaining(range(6), name="items")],
}


@pytest.mark.parametrize("what", GATHERED)
def test_a_run_that_goes_on_is_told_that_it_gathers_only_the_rest(what: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="resumable")
    with checkpointed("job", every(items=1)) as cp:
        assert GATHERED[what](cp)
        cp.keep()
    assert caplog.messages == []

    with checkpointed("job", every(items=1)) as cp:
        GATHERED[what](cp)

    assert caplog.messages[0].startswith(f"job: the loop goes on at item 6, so {what} collects only what is left")


def worked_on(cp: Any) -> None:
    done = cp.set("done")
    for item in map(int, cp.remaining(range(6))):
        if item == 3 and not cp.resumed:
            raise ConnectionError
        done.add(item)
    [done.add(item) for item in cp.remaining(range(6, 9))]
    list(map(done.add, cp.remaining(range(9, 12))))
    if len(done) == 12:
        cp.keep()


def test_items_that_are_worked_on_one_by_one_are_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="resumable"):
        with pytest.raises(ConnectionError), checkpointed("job", every(items=1)) as cp:
            worked_on(cp)
        for _ in range(2):
            with checkpointed("job", every(items=1)) as cp:
                worked_on(cp)

    assert caplog.messages == []


@pytest.mark.parametrize("items", [8, 100], ids=["few", "many"])
def test_next_in_the_body_of_a_loop_is_told_once(items: int, caplog: pytest.LogCaptureFixture) -> None:
    def pairs(cp: Any) -> None:
        loop = cp.remaining(range(items))
        for _ in loop:
            next(loop)

    with caplog.at_level(logging.WARNING, logger="resumable"), checkpointed(f"pairs of {items}") as cp:
        for _ in range(6):  # small loops are made in another way, once some were made
            pairs(cp)

    (told,) = caplog.messages
    assert "counts as done" in told
    assert "cp.remaining(list(batched(items, 2)))" in told


def test_next_before_a_loop_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="resumable"), checkpointed("head") as cp:
        for _ in range(6):
            loop = cp.remaining(range(4))
            assert [next(loop), *loop] == [0, 1, 2, 3]

    assert caplog.messages == []


def test_next_after_a_loop_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="resumable"), checkpointed("tail") as cp:
        for _ in range(6):
            loop = cp.remaining(range(4))
            assert [*loop] == [0, 1, 2, 3]
            assert next(loop, None) is None

    assert caplog.messages == []


def stopped_at(item: int, stops_at: int | None) -> int:
    if item == stops_at:
        raise LookupError
    return item


def sorted_results(cp: Any, stops_at: int | None) -> Any:
    return sorted(map(functools.partial(stopped_at, stops_at=stops_at), cp.remaining(range(5))))


def reduced(cp: Any, stops_at: int | None) -> Any:
    return functools.reduce(lambda sum_, item: sum_ + stopped_at(item, stops_at), cp.remaining(range(5)), 0)


def comprehended_map(cp: Any, stops_at: int | None) -> Any:
    return [stopped_at(item, stops_at) for item, _ in cp.map(str, range(5))]


def worked_on_one_by_one(cp: Any, stops_at: int | None) -> None:
    for item, _ in cp.map(str, range(5)):
        assert [number for number in range(3)] == [0, 1, 2]  # noqa: C416
        stopped_at(item, stops_at)


def for_its_effects(cp: Any, stops_at: int | None) -> None:
    [stopped_at(item, stops_at) for item, _ in cp.map(str, range(5))]


@pytest.mark.parametrize("job", [worked_on_one_by_one, for_its_effects])
def test_a_map_whose_results_nobody_collects_is_not_told_of(job: Any, caplog: Any) -> None:
    for stops_at in 3, None:
        with contextlib.suppress(LookupError), checkpointed("one by one", every(items=1)) as cp:
            job(cp, stops_at)

    assert "collects only" not in caplog.text


def summed_map(cp: Any, stops_at: int | None) -> Any:
    return sum(stopped_at(item, stops_at) for item, _ in cp.map(str, range(5)))


@pytest.mark.parametrize("job", [sorted_results, reduced, comprehended_map, summed_map])
def test_what_gathers_by_steps_is_told_of_what_it_lacks(job: Any, caplog: Any) -> None:
    for stops_at in 3, None:
        with contextlib.suppress(LookupError), checkpointed("gathers by steps", every(items=1)) as cp:
            job(cp, stops_at)

    assert caplog.text.count("collects only what is left") == 1


def test_what_gathers_by_steps_in_the_head_of_a_for_is_refused() -> None:
    with checkpointed("in the head") as cp:
        with pytest.raises(RuntimeError, match=r"sorted\(\) around the loop"):
            for _ in sorted(map(str, cp.remaining(range(5)))):
                pass
        cp.finalize()


def test_what_nobody_uses_is_not_told_of(caplog: Any) -> None:
    for stops_at in 3, None:
        with contextlib.suppress(LookupError), checkpointed("for its effects", every(items=1)) as cp:
            list(map(functools.partial(stopped_at, stops_at=stops_at), cp.remaining(range(5))))

    assert "collects only" not in caplog.text


def doubled(stops_at: int | None, store: Path) -> Iterator[int]:
    with checkpointed("job", every(items=1), store=store) as cp:
        for item in cp.remaining(range(6)):
            if item == stops_at:
                raise LookupError
            yield 2 * item


def test_a_list_of_what_the_programs_own_generator_gives_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.suppress(LookupError):
        list(doubled(3, tmp_path))
    caplog.clear()

    assert list(doubled(None, tmp_path)) == [6, 8, 10]
    assert "so list() collects only what is left" in caplog.text
