"""NaN and the infinities: refused by default, kept exactly where they are allowed, and in typed states."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resumable import CheckpointManager, StateEncodeError, checkpointed, every, read
from resumable._json import encode_spelled, unspelled

NAN, INF = math.nan, math.inf
LOOKALIKES: list[Any] = [
    {"$float": "nan"},
    {"$$float": 1},
    {"$float": NAN},
    {"$float": {"$float": "inf"}},
    {"float": 1},
]
LOOKALIKES += [{"$float": 1, "b": INF}, {"x$float": INF}, {"$": {}}]


def alike(one: Any, other: Any) -> bool:
    """Equal, types included, where NaN is equal to itself."""
    if isinstance(one, float):
        return type(other) is float and (struct.pack("d", one) == struct.pack("d", other) or one != one != other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other) and type(one) is type(other)


class Stop(Exception):
    """Ends a run as an error of the program's own does."""


def stopped(path: Path, body: Callable[[Any, int], None], items: int = 6, **options: Any) -> None:
    with contextlib.suppress(Stop), checkpointed("job", every(items=1), store=path, **options) as cp:
        for number in cp.remaining(range(items)):
            if number == items - 1:
                raise Stop
            body(cp, number)


@contextlib.contextmanager
def again(path: Path, **options: Any) -> Any:
    with checkpointed("job", store=path, **options) as cp:
        cp.keep()
        yield cp


@pytest.mark.parametrize("filling", [0, 400], ids=["snapshots", "journal"])
def test_plain_states_and_collections_keep_them_exactly(filling: int, tmp_path: Path) -> None:
    held = {"inner": [NAN, {"a": -INF}]}

    def body(cp: Any, number: int) -> None:
        cp.state["filling"] = ["x" * 40] * filling
        cp.state["values"] = [NAN, INF, -INF, 1.5, -0.0, None, {"a": NAN}]
        cp.state["alone"] = NAN if number % 2 else INF
        mapping, log, numbers = cp.mapping("mapping"), cp.log("log"), cp.set("set")
        mapping[f"n{number}"] = NAN
        mapping["held"] = held
        mapping["deep"] = {"a": [INF, {"b": NAN}]}
        mapping.setdefault("default", -INF)
        log.append(NAN)
        log.append({"loss": -INF, "n": number})
        numbers.add(INF)
        numbers.add(float("nan"))

    stopped(tmp_path, body, nan="allow")
    assert bool(list(tmp_path.glob("*.journal"))) == bool(filling)
    for _ in range(2):
        with again(tmp_path, nan="allow") as cp:
            assert alike(cp.state["values"], [NAN, INF, -INF, 1.5, -0.0, None, {"a": NAN}])
            assert cp.state["alone"] == INF
            mapping = dict(cp.mapping("mapping"))
            assert alike(mapping.pop("held"), {"inner": [NAN, {"a": -INF}]})
            assert alike(mapping.pop("deep"), {"a": [INF, {"b": NAN}]})
            assert mapping.pop("default") == -INF
            assert alike(mapping, {f"n{number}": NAN for number in range(5)})
            assert alike(list(cp.log("log")), [part for n in range(5) for part in (NAN, {"loss": -INF, "n": n})])
            assert cp.set("set") == {INF, NAN}
            cp.state["again"] = NAN
    loaded = CheckpointManager(checkpoint_dir=tmp_path).load_checkpoint("job")
    assert loaded is not None
    assert math.isnan(loaded.state["again"])


@pytest.mark.parametrize("value", LOOKALIKES, ids=str)
def test_what_looks_like_a_spelled_number_is_kept_as_it_is(value: Any, tmp_path: Path) -> None:
    assert alike(unspelled(json.loads(encode_spelled(value))), value)

    def body(cp: Any, number: int) -> None:
        cp.state["value"] = value
        cp.state["$float"] = "nan"
        cp.mapping("mapping")["value"] = value
        cp.mapping("single").update(value)
        cp.log("log").append(value)

    stopped(tmp_path, body, nan="allow")
    with again(tmp_path, nan="allow") as cp:
        found = [cp.state["value"], cp.mapping("mapping")["value"], *cp.log("log"), dict(cp.mapping("single"))]
        assert all(alike(one, value) for one in found)
        assert cp.state["$float"] == "nan"


def test_files_without_it_are_read_as_they_are(tmp_path: Path) -> None:
    stopped(tmp_path, lambda cp, number: cp.state.update(value={"$float": "nan"}))
    assert b'"nonfinite"' not in (tmp_path / ".checkpoint_job.json").read_bytes()
    for nan in ("refuse", "allow", "refuse"):
        with again(tmp_path, nan=nan) as cp:
            assert cp.state["value"] == {"$float": "nan"}
            cp.state["n"] = nan


def test_by_default_they_are_refused_with_the_cure(tmp_path: Path) -> None:
    for put in (
        lambda cp, number: cp.state.update(loss=NAN),
        lambda cp, number: cp.mapping("m").update(loss=INF),
        lambda cp, number: cp.log("l").append(NAN),
        lambda cp, number: cp.set("s").add(INF),
    ):
        with pytest.raises(StateEncodeError, match=r"None instead, or .*nan='allow'"):
            stopped(tmp_path, put)
    with pytest.raises(ValueError, match="nan must be 'refuse' or 'allow'"):
        checkpointed("job", store=tmp_path, nan="yes")  # type: ignore[arg-type]


@dataclass
class Plain:
    best: float = INF
    losses: list[float] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    maybe: float | None = None


class Struct(msgspec.Struct):
    best: float = INF
    losses: list[float] = []
    more: dict[str, Any] = {}
    maybe: float | None = None


def model(**config: Any) -> Any:
    pydantic = pytest.importorskip("pydantic")
    fields = {"best": (float, INF), "losses": (list[float], []), "more": (dict[str, Any], {})}
    return pydantic.create_model("Model", __config__=config or None, **fields, maybe=(float | None, None))


KINDS = {
    "dataclass": lambda: Plain,
    "struct": lambda: Struct,
    "model": model,
    "model, strings": lambda: model(ser_json_inf_nan="strings"),
    "model, constants": lambda: model(ser_json_inf_nan="constants"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("filling", [0, 1000])
def test_typed_states_hold_them_in_any_case(name: str, filling: int, tmp_path: Path) -> None:
    kind = KINDS[name]()

    def body(cp: Any, number: int) -> None:
        cp.state.best = -INF
        cp.state.losses = [NAN, INF, 0.5, INF - INF, *([1.5] * filling)]
        cp.state.more = {"$float": "nan"}
        cp.state.maybe = [NAN, INF, -INF][number % 3]

    stopped(tmp_path, body, state=kind)
    for _ in range(2):
        with again(tmp_path, state=kind) as cp:
            assert cp.state.best == -INF
            assert alike(cp.state.losses[:4], [NAN, INF, 0.5, NAN])
            assert cp.state.more == {"$float": "nan"}
            assert cp.state.maybe == INF


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("nan", ["refuse", "allow"])
@pytest.mark.parametrize("filling", [0, 1000])
@pytest.mark.slow
def test_values_of_a_class_hold_them_in_any_case(name: str, nan: str, filling: int, tmp_path: Path) -> None:
    kind = KINDS[name]()

    def body(cp: Any, number: int) -> None:
        best = [NAN, INF, -INF, 1.5][number % 4]
        values, rows = cp.mapping("values", kind), cp.log("rows", kind)
        values[f"n{number}"] = kind(best=best, losses=[NAN, *([1.5] * filling)], more={"$float": "nan"}, maybe=best)
        values["n0"].losses.append(best)  # in place
        rows.append(kind(best=best, maybe=None))
        cp.set("numbers", float).add(best)

    stopped(tmp_path, body, nan=nan)
    with again(tmp_path) as cp:
        cp.state["other"] = "a save by a run that asks for none of them"
    for _ in range(2):
        with again(tmp_path) as cp:
            values, rows = cp.mapping("values", kind), cp.log("rows", kind)
            assert alike([values[f"n{n}"].best for n in range(5)], [NAN, INF, -INF, 1.5, NAN])
            assert alike(values["n0"].losses[1 + filling :], [NAN, INF, -INF, 1.5, NAN])
            assert alike(values["n1"].losses[:1], [NAN])
            assert values["n1"].more == {"$float": "nan"}
            assert alike([row.best for row in rows], [NAN, INF, -INF, 1.5, NAN])
            assert rows[0].maybe is None
            assert alike(sorted(n for n in cp.set("numbers", float) if n == n), [-INF, 1.5, INF])


def test_a_run_that_takes_none_keeps_those_of_the_run_before(tmp_path: Path) -> None:
    """In a collection that it never asks for, they became None with its first whole save."""

    def body(cp: Any, number: int) -> None:
        cp.mapping("mapping")["a"] = {"b": NAN}
        cp.log("log").append(INF)
        cp.set("set").add(-INF)

    stopped(tmp_path, body, items=2, nan="allow")
    with again(tmp_path) as cp:
        cp.state["other"] = 1
        with pytest.raises(StateEncodeError, match="not a JSON number"):
            cp.mapping("mapping")["b"] = NAN
    manager = CheckpointManager(checkpoint_dir=tmp_path)
    loaded = manager.load_checkpoint("job")
    assert loaded is not None
    manager.create_checkpoint("job", loaded.state | {"by hand": [NAN]})
    view = read("job", tmp_path)
    assert alike(view.state["mapping"], {"a": {"b": NAN}})
    assert (view.state["log"], view.state["set"]) == ([INF], [-INF])
    assert alike(view.state["by hand"], [NAN])


def test_an_exported_document_is_loaded_as_it_was(tmp_path: Path) -> None:
    testing = pytest.importorskip("click.testing")
    from resumable.cli._commands import commands

    held = {"values": [NAN, {"$float": "nan"}, None], "$float": NAN}
    stopped(tmp_path / "one", lambda cp, number: cp.state.update(held), nan="allow")
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / ".checkpoint_job.json"
    result = testing.CliRunner().invoke(commands, ["export", "job", "--dir", str(tmp_path / "one"), "-o", str(copy)])
    assert result.exit_code == 0, result.output
    assert alike(read("job", tmp_path / "other").state, held)


def test_a_spelled_number_that_is_none_is_damage() -> None:
    for value in ({"$float": "1"}, [{"$float": None}]):
        with pytest.raises(ValueError, match="it spells a number as"):
            unspelled(value)


def test_the_command_line_reads_them(tmp_path: Path) -> None:
    testing = pytest.importorskip("click.testing")
    from resumable.cli._commands import commands

    stopped(tmp_path, lambda cp, number: cp.state.update(loss=NAN, n=number), nan="allow")
    for arguments, expected in (
        (["export", "job"], '"$float": "nan"'),
        (["show", "job"], "loss"),
        (["verify", "job"], "good"),
        (["list"], "job"),
    ):
        result = testing.CliRunner().invoke(commands, [*arguments, "--dir", str(tmp_path)])
        assert result.exit_code == 0, result.output
        assert expected in result.output
