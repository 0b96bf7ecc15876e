"""The check of a state that is saved again and again: whole at first, cheap afterwards, and never for good."""

from __future__ import annotations

import math
import random
from datetime import date
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

from resumable import StateEncodeError, checkpointed
from resumable._durable.frozen import FrozenDict, FrozenList
from resumable._json import Checker, _part, is_good, is_plain, look_closely

MANY = 20_000


class Level(IntEnum):
    LOW = 1


class Mode(StrEnum):
    OLD = "old"


def records() -> dict[str, Any]:
    return {"files": {f"file-{n}": {"size": n} for n in range(MANY)}, "rows": [[n] for n in range(MANY)]}


def checks_until_found(checker: Checker, state: dict[str, Any]) -> int:
    for number in range(1, 20):
        try:
            checker.check(state, "$.state")
        except StateEncodeError:
            return number
    raise AssertionError("never found")


def test_the_first_check_finds_it_anywhere() -> None:
    state = records()
    state["files"]["file-7"]["size"] = {1}

    with pytest.raises(StateEncodeError, match=r"\$\.state\.files\['file-7'\]\.size"):
        Checker().check(state, "$.state")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda state: state["files"].update(new={"when": {1}}), id="a new entry"),
        pytest.param(lambda state: state["rows"].append([{1}]), id="a new row"),
        pytest.param(lambda state: state.update(other={1}), id="a new name"),
        pytest.param(lambda state: state["files"].update({7: 1}), id="a key that is no string"),
    ],
)
def test_what_is_new_is_found_at_once(spoil: Any) -> None:
    state, checker = records(), Checker()
    checker.check(state, "$.state")
    spoil(state)

    assert checks_until_found(checker, state) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, MANY // 2, MANY - 3000])
def test_what_changed_in_place_is_found_within_eight_checks(number: int) -> None:
    state, checker = records(), Checker()
    checker.check(state, "$.state")
    state["files"][f"file-{number}"]["size"] = {1}

    assert checks_until_found(checker, state) <= 8


@pytest.mark.parametrize("count", [8192, 8193, 10_007])
def test_eight_turns_look_at_all(count: int) -> None:
    keyed, rows = {f"k{n}": n for n in range(count)}, list(range(count))
    for large in (keyed, rows):
        looked_at: set[int] = set().union(*(_part(large, turn) for turn in range(8)))

        assert looked_at == set(range(count))
        assert all(len(_part(large, turn)) < count // 8 + 2052 for turn in range(8))


def spoil_an_old_row_and_fail(directory: Path) -> None:
    with checkpointed("job", store=directory) as cp:
        cp.state.update(records())
        cp.save()
        cp.state["rows"][MANY // 2] = {1}
        raise KeyError


def test_the_last_save_of_a_run_looks_at_everything(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as raised:
        spoil_an_old_row_and_fail(tmp_path)

    assert f"$.state.rows[{MANY // 2}]" in "".join(raised.value.__notes__)


def save_eight_times(cp: Any) -> None:
    for _ in range(8):
        cp.save()


def test_saves_before_the_first_item_look_at_everything_twice(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        rows = cp.state["rows"] = [[n] for n in range(MANY)]
        cp.save()
        rows[10] = (1,)
        with pytest.warns(UserWarning, match=r"\.rows\[10\] is a tuple"):
            cp.save()
        rows[10], rows[20] = [], {1}
        cp.save()  # looks elsewhere
        with pytest.raises(StateEncodeError, match=r"rows\[20\]"):
            save_eight_times(cp)
        rows[20] = []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "x", {"b": []}]}, True),
        ({"a": (1,)}, False),
        ({"a": {1: 2}}, False),
        ({"a": float("nan")}, False),
        ([{"a": 1}, {"a": {1}}], False),
    ],
)
def test_what_is_surely_plain(value: Any, expected: bool) -> None:
    assert is_plain(value) is expected


@pytest.mark.slow
def test_is_good_says_what_a_close_look_does() -> None:
    """One value as it is assigned: never good where the close look refuses or warns, and sure of nearly all others."""
    chance, sure = random.Random(1), 0
    bad = [float("nan"), float("-inf"), "\ud800", (1,), {1: 2}, {"\udfff": 1}, b"x", {1}, 1j, {None: 1}, object()]
    fine = [0, -1, 1 << 70, 1.5, 1e308, "", "é€𝄞", "x" * 50, None, True, [], {}, -0.0]

    def some(depth: int) -> Any:
        if depth == 0 or chance.random() < 0.4:
            return chance.choice(bad) if chance.random() < 0.03 else chance.choice(fine)
        inner = [some(depth - 1) for _ in range(chance.randrange(5))]
        if chance.random() < 0.02:
            return inner * 10
        return inner if chance.random() < 0.5 else dict(zip(["a", "b", "é", "key"], inner, strict=False))

    for _ in range(20_000):
        value: Any = some(5)
        warned: list[str] = []
        try:
            look_closely(value, "$", warned.append)
            is_fine = not warned
        except StateEncodeError:
            is_fine = False
        assert is_good(value) is is_fine, value
        sure += is_fine
    assert sure > 5_000


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("count", [0, 1, 5, 6, 11, 43, 300])
def test_a_key_that_is_no_exact_text_is_never_good(count: int) -> None:
    """However large the dict is, and however it came to be."""

    class Text(str):
        __slots__ = ()

    keys = [f"key {number}" for number in range(count)]
    assert is_good(dict.fromkeys(keys))
    assert is_good({**dict.fromkeys([1, *keys]), "é": 1}) is False
    for odd in (1, None, 1.5, ("a",), Text("a"), Text("key 0"), "\ud800"):
        for made in (
            dict.fromkeys([*keys, odd]),
            dict.fromkeys([odd, *keys]),
            {**dict.fromkeys(keys[:3]), odd: 1, **dict.fromkeys(keys[3:])},
        ):
            is_fine = {str}.issuperset(map(type, made)) and "\ud800" not in made
            assert [is_good(made), is_good([made]), is_good({"a": made})] == [is_fine] * 3, (count, odd)
            assert is_good(made.copy()) is is_fine


@pytest.mark.parametrize("value", [Decimal("1.5"), Level.LOW, Mode.OLD, date(2024, 1, 1), b"x", (1,), 1j, math.nan])
def test_one_field_that_json_does_not_hold_exactly_is_seen(value: Any) -> None:
    """Whichever field of a record it is."""
    for count in (1, 3, 8):
        for at in range(count):
            record: dict[str, Any] = {f"field {number}": [1, 0.5, "é", None][number % 4] for number in range(count)}
            assert is_good(record)
            record[f"field {at}"] = value
            assert [is_good(record), is_good([record]), is_good({"a": {"b": record}})] == [False] * 3


def test_what_is_plain_is_so_at_every_depth_and_place() -> None:
    """Many values at once: never plain where the close look refuses or warns, and sure of all others."""
    chance, plain = random.Random(3), 0
    bad: list[Any] = [float("nan"), (1,), {1: 2}, {None: 1}, {Text("a"): 1}, Text("a"), b"x", {1}, object(), {(): 1}]
    had_an_odd_key = {1: 1, "a": 1}
    del had_an_odd_key[1]
    fine = [0, 1.5, "x", "\u00e9", None, True, [], {}, had_an_odd_key, FrozenDict(a=1), FrozenList([1])]

    def some(depth: int, share: float) -> Any:
        if depth == 0 or chance.random() < 0.2:
            return chance.choice(bad) if chance.random() < share else chance.choice(fine)
        inner = [some(depth - 1, share) for _ in range(chance.randrange(6))]
        return inner if chance.random() < 0.5 else dict(zip(["a", "b", "\u00e9", "key", "f"], inner, strict=False))

    for share in [0.0, 0.02] * 2_000:
        value = [some(3, share)]
        warned: list[str] = []
        try:
            look_closely(value, "$", warned.append)
            is_fine = not warned
        except StateEncodeError:
            is_fine = False
        assert is_plain(value) is is_fine, value
        plain += is_fine
    assert 2_000 < plain < 4_000


@pytest.mark.parametrize("bad", [{"a": {1}}, {7: 1}, {"a": float("inf")}, {"a": (1,)}, {Text("a"): 1}])
@pytest.mark.parametrize("place", [0, 999, 1000, 2500, -1])
def test_one_bad_record_among_many_is_not_plain(bad: Any, place: int) -> None:
    rows: list[Any] = [{"a": n, "b": f"{n}"} for n in range(3_000)]
    assert is_plain(rows)
    rows[place] = bad

    assert not is_plain(rows)
    assert not is_plain({"rows": {f"{n}": row for n, row in enumerate(rows)}})


class Settings:
    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


def test_the_variables_of_an_object_are_looked_at_like_any_dict() -> None:
    """From Python 3.13 on, the garbage collector does not see their values in the dict."""
    assert is_plain([vars(Settings(1, [2])), {"x": 1, "y": 2}])
    assert not is_plain([vars(Settings(1, 2)), {1: "x", 2: "y"}])
    assert not is_plain([vars(Settings(1, {2})), {1: "x", 2: "y"}])
    assert not is_plain([vars(Settings(1, {2})), {"x": 1, "y": 2}])


@pytest.mark.parametrize("times", [1, 2, 9])
def test_what_holds_itself_is_refused_at_once(times: int) -> None:
    own: list[Any] = []
    own += [own, {"again": own}] * times
    with pytest.raises(StateEncodeError, match="contains itself"):
        Checker().check({"own": own}, "$.state")
