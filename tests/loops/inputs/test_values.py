"""Items that JSON cannot hold count by their value; those that have none are refused, once and with what to do."""

from __future__ import annotations

import array
import copy
import ctypes
import dataclasses
import functools
import io
import os
import re
import sqlite3
import subprocess
import sys
from collections import UserList, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pydantic
import pytest

from resumable import checkpointed, every
from resumable._errors import InputChangedError, StateEncodeError
from resumable._loops.inputs.fingerprint import digest
from resumable._loops.inputs.values import ValuelessError, _within
from resumable.testing import MemoryStore
from tests.support.loops import FakeOwner, both_ways, loop_over, saved, stepping, stopped_at

__all__ = ["stepping"]  # a fixture


def numpy(values: list[float]) -> Any:
    return pytest.importorskip("numpy").array(values)


def numpy_objects(values: list[float]) -> Any:
    return pytest.importorskip("numpy").array([(value, None) for value in values], dtype=object)


def numpy_scalar(values: list[float]) -> Any:
    return pytest.importorskip("numpy").float64(values[len(values) // 2])


def pandas(values: list[float]) -> Any:
    return pytest.importorskip("pandas").DataFrame({"v": values, "text": [str(value) for value in values]})


def pandas_series(values: list[float]) -> Any:
    return pytest.importorskip("pandas").Series(values)


def pandas_lists(values: list[float]) -> Any:
    return pytest.importorskip("pandas").DataFrame({"v": [[value] for value in values]})


def polars(values: list[float]) -> Any:
    return pytest.importorskip("polars").DataFrame({"v": values})


def polars_series(values: list[float]) -> Any:
    return pytest.importorskip("polars").Series("v", values)


def polars_lists(values: list[float]) -> Any:
    return pytest.importorskip("polars").DataFrame({"v": [[value] for value in values]})


def arrow(values: list[float]) -> Any:
    return pytest.importorskip("pyarrow").table({"v": values})


def arrow_array(values: list[float]) -> Any:
    return pytest.importorskip("pyarrow").array(values)


def arrow_dictionary(values: list[float]) -> Any:
    return arrow_array(values).dictionary_encode()


def pandas_category(values: list[float]) -> Any:
    return pytest.importorskip("pandas").Categorical(values)


def shown_in_part(values: list[float]) -> Any:
    return Shown(numpy(values))


def sqlite_row(values: list[float]) -> Any:
    db = sqlite3.connect(":memory:")
    db.row_factory = sqlite3.Row
    try:
        return db.execute("select 1 as id, ? as value", (values[len(values) // 2],)).fetchone()
    finally:
        db.close()


class Model(pydantic.BaseModel):
    values: Any


class Shown:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Shown({self.value!r})"


MAKERS: list[Callable[[list[float]], Any]] = [
    numpy,
    numpy_objects,
    numpy_scalar,
    pandas,
    pandas_series,
    pandas_lists,
    polars,
    polars_series,
    polars_lists,
    arrow,
    arrow_array,
    arrow_dictionary,
    pandas_category,
    shown_in_part,
    sqlite_row,
    lambda values: deque([numpy(values)]),
    lambda values: SimpleNamespace(v=numpy(values)),
    lambda values: {"v": numpy(values)}.items(),
    lambda values: ValueError(numpy(values)),
    lambda values: Model(values=values).model_dump,
    lambda values: array.array("d", values),
    lambda values: memoryview(array.array("d", values)),
    lambda values: Model(values=array.array("d", values)),
    lambda values: MappingProxyType({"v": tuple(values)}),
    lambda values: functools.partial(print, *values, end=""),
]
VALUES = [float(number) for number in range(5000)]
OTHER = [*VALUES[:100], *(-value for value in VALUES[100:4900]), *VALUES[4900:]]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(lambda item: item, id="itself"),
        pytest.param(lambda item: (1, item), id="in a tuple"),
        pytest.param(lambda item: {(1, 2): [item]}, id="in a dict that JSON cannot hold"),
    ],
)
def test_they_count_by_their_value(make: Any, inside: Any) -> None:
    """The middle of an array is not in its repr."""
    assert digest(inside(make(VALUES))) == digest(inside(make(VALUES)))
    assert digest(inside(make(VALUES))) != digest(inside(make(OTHER)))


def test_an_array_counts_with_its_shape_and_type_however_it_lies_in_memory() -> None:
    np = pytest.importorskip("numpy")
    whole = np.arange(12)

    assert digest(whole) != digest(whole.reshape(3, 4)) != digest(whole.reshape(4, 3))
    assert digest(np.zeros(4, "int32")) != digest(np.zeros(4, "uint32"))
    assert digest(whole[::2]) == digest(whole[::2].copy())
    assert digest(whole.reshape(3, 4).T) == digest(whole.reshape(3, 4).T.copy())


def test_a_table_counts_however_it_is_cut_into_chunks() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"v": [1, 2, 3, None], "text": ["a", "b", "c", "d"]})

    assert digest(pa.concat_tables([table.slice(0, 1), table.slice(1)])) == digest(table)
    assert digest(table.slice(1, 2)) == digest(pa.table({"v": [2, 3], "text": ["b", "c"]}))


def test_the_names_and_types_of_columns_count() -> None:
    pd = pytest.importorskip("pandas")

    frames = [pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.DataFrame({"a": [1]}, dtype="int32")]
    assert len(set(map(digest, frames))) == 3


def test_two_columns_of_a_row_may_have_one_name() -> None:
    db = sqlite3.connect(":memory:")
    db.row_factory = sqlite3.Row
    rows = [db.execute("select ? as id, 2 as id", (number,)).fetchone() for number in (1, 3)]
    db.close()

    assert digest(rows[0]) != digest(rows[1])


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "np.set_printoptions(precision=3); pd.set_option('display.precision', 2)"])
@pytest.mark.parametrize("width", ["40", "200"])
def test_neither_print_options_nor_the_width_of_the_terminal_count(options: str, width: str) -> None:
    pytest.importorskip("pandas")
    program = (
        "import numpy as np, pandas as pd; from resumable._loops.inputs.fingerprint import digest;"
        f"{options}\n"
        "values = np.arange(40.0).reshape(2, 20) / 7; print(digest([values, pd.DataFrame(values)]))"
    )
    ended = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={**os.environ, "COLUMNS": width, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )
    import numpy as np
    import pandas as pd

    values = np.arange(40.0).reshape(2, 20) / 7
    assert ended.stdout.strip() == digest([values, pd.DataFrame(values)])


@dataclasses.dataclass
class Record:
    key: Any
    note: str = dataclasses.field(default="", repr=False)


@pytest.mark.parametrize("make", [numpy, pandas, polars])
@pytest.mark.parametrize(
    "around",
    [
        lambda item: [item],
        lambda item: {"a": (item,)}.items(),
        lambda item: functools.partial(print, ValueError(item)),
        lambda item: UserList([SimpleNamespace(a=[0, item])]),
        lambda item: Record(deque([item])),
        Shown,
    ],
)
def test_arrays_that_a_repr_shows_in_part_count_wholly_at_any_depth(make: Any, around: Any) -> None:
    values = [float(value) for value in range(5000)]
    other = [*values[:2500], -1.0, *values[2501:]]

    assert digest(Shown(around(make(values)))) == digest(Shown(around(make(values))))
    assert digest(Shown(around(make(values)))) != digest(Shown(around(make(other))))


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "Text"


PATTERN = "a" * 300


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(Open(a=1), Open(a=2), id="extra of a model"),  # type: ignore[call-arg]
        pytest.param(Record({(1, 2): 3}), Record({(1, 2): 3}, "b"), id="field that is not shown"),
        pytest.param(deque([Record(1)]), deque([Record(1, "b")]), id="such a record in a deque"),
        pytest.param(Text("a"), Text("b"), id="text with a repr of its own"),
        pytest.param(re.compile(PATTERN), re.compile(PATTERN + "b"), id="long pattern"),
        pytest.param(OSError(2, "gone", "a"), OSError(2, "gone", "b"), id="file of an error"),
    ],
)
def test_what_a_repr_leaves_out_counts(one: Any, other: Any) -> None:
    assert digest(one) == digest(copy.deepcopy(one)) != digest(other)
    assert digest([one]) != digest([other])


def test_two_arrays_that_are_shown_alike_count_both() -> None:
    np = pytest.importorskip("numpy")
    one, other = np.arange(5000.0), np.arange(5000.0)
    other[2500] = -1

    assert len({digest(Shown([[a, b]])) for a in (one, other) for b in (one, other)}) == 4


def test_objects_in_a_column_count_by_their_values() -> None:
    """pandas hashes their texts: those of sets differ in each process, those of arrays are abridged."""
    pd, np = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    one, other = np.arange(5000.0), np.arange(5000.0)
    other[2500] = -1

    def frame(cell: Any) -> Any:
        return pd.DataFrame({"n": [1, 2], "cell": pd.Series([cell, None], dtype=object)})

    assert digest(frame(Shown([one]))) == digest(frame(Shown([one.copy()]))) != digest(frame(Shown([other])))
    assert digest(frame(Shown([one])).cell) != digest(frame(Shown([other])).cell)
    with pytest.raises(ValuelessError):
        digest(frame(Opaque()))


def test_a_row_is_not_searched_for_what_lies_behind_it() -> None:
    class Session:
        def __init__(self) -> None:
            self.rows = [{str(number)} for number in range(3000)]

    class Row:
        def __init__(self, session: Session) -> None:
            self.session = session

        def __repr__(self) -> str:
            return "Row({'id': 1})"

    assert _within(Row(Session()), lambda one: isinstance(one, set), lambda one: isinstance(one, Row)) == []
    assert digest(Row(Session())) == digest(Row(Session()))


def test_names_types_and_categories_of_a_frame_count() -> None:
    pd = pytest.importorskip("pandas")
    index = [pd.MultiIndex.from_tuples([("a", 1)], names=["x", name]) for name in "yz"]
    ordered = [pd.Categorical(["a", "b"], categories=["a", "b"], ordered=is_ordered) for is_ordered in (False, True)]

    forms = [pd.Series([1, "a"]), pd.Series(["1", "a"], dtype=object), pd.Series(["1", "a"], dtype="category")]
    forms += [pd.DataFrame({"v": [1]}, index=one) for one in index]
    forms += [pd.Series(one) for one in (*ordered, pd.Categorical(["a", "b"], categories=["a", "b", "c"]))]
    assert len(set(map(digest, forms))) == len(forms)


@pytest.mark.parametrize("item", [ctypes.c_char_p(b"a"), ctypes.pointer(ctypes.c_int(3))])
def test_an_address_is_no_value(item: Any) -> None:
    with pytest.raises(ValuelessError):
        digest(item)


@pytest.mark.parametrize(("one", "other"), [(len, print), (os.path, io), (dict, list), (VALUES.append, VALUES.pop)])
def test_functions_classes_and_modules_count_by_name(one: Any, other: Any) -> None:
    assert digest(one) == digest(one) != digest(other)
    assert digest((1, one)) != digest((1, other))


def test_a_lambda_counts_with_what_it_was_given() -> None:
    made = [lambda n=n: n for n in "ab"]
    assert digest(made[0]) != digest(made[1])
    assert digest((1, made[0])) != digest((1, made[1]))


@pytest.mark.slow
def test_neither_the_order_of_a_set_nor_the_locale_counts(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(
        "import sys; from collections import UserList, deque; from types import SimpleNamespace\n"
        "from resumable._loops.inputs.fingerprint import digest\n"
        "names = {'Ada', 'Bob', 'Cid', 'Dan', 'Eve'}\n"
        "class Team:\n    def __init__(self): self.names = names\n    def __repr__(self): return f'T{self.names}'\n"
        "class Deep(Team):\n    def __init__(self): self.names = {'all': [names]}\n"
        "forms = [deque([names]), SimpleNamespace(n=names), {'n': names}.values(), ValueError(names), Team(), Deep()]\n"
        "print(*map(digest, [*forms, open(__file__)]))"
    )

    def told(seed: str, utf8: str) -> str:
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": ":".join(sys.path),
            "LC_ALL": "C",
            "PYTHONUTF8": utf8,
        }
        program = [sys.executable, "-B", str(tmp_path / "shown.py")]
        return subprocess.run(program, env=env, capture_output=True, check=True, text=True).stdout

    assert told("1", "0") == told("2", "1")


# -- what has no value ------------------------------------------------------------------------------------------------


class Opaque:
    pass


class Unfriendly:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_a_lazy_frame_has_a_value_if_its_plan_says_where_the_rows_come_from(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    pl.DataFrame({"v": [1]}).write_csv(tmp_path / "rows.csv")

    assert digest(pl.scan_csv(tmp_path / "rows.csv")) == digest(pl.scan_csv(tmp_path / "rows.csv"))
    with pytest.raises(ValuelessError):
        digest(pl.DataFrame({"v": [1]}).lazy().select("v"))


@pytest.mark.parametrize(
    "item", [Opaque(), Unfriendly(), io.StringIO(), object()], ids=lambda item: type(item).__name__
)
@pytest.mark.parametrize(
    "inside", [lambda item: item, lambda item: (1, item), lambda item: {"a": [item]}, lambda item: {(1,): item}]
)
def test_an_object_without_a_value_has_no_digest(item: Any, inside: Any) -> None:
    """Its address is another one in every run, and its class alone would be the same for any other input."""
    with pytest.raises(ValuelessError, match=type(item).__name__):
        digest(inside(item))


@both_ways
@pytest.mark.parametrize("make", [list, iter])
@pytest.mark.parametrize("fingerprint", ["sampled", "full"])
def test_items_without_a_value_are_refused_before_the_first_one(make: Any, fingerprint: Any) -> None:
    with pytest.raises(ValuelessError, match=r"items\[0\] is or holds a .*Opaque.*key=.*fingerprint=None"):
        next(loop_over(make([Opaque(), Opaque()]), fingerprint=fingerprint))


@both_ways
@pytest.mark.parametrize("way", [{"fingerprint": None}, {"key": "name"}])
def test_either_way_out_takes_them(way: Any) -> None:
    items = [Opaque(), Opaque()]
    for item, name in zip(items, "ab", strict=True):
        vars(item)["name"] = name
    assert list(loop_over(items, **way)) == items


def test_a_map_refuses_them_too() -> None:
    with (
        pytest.raises(ValuelessError, match="key="),
        checkpointed("job", every(items=1), store=MemoryStore()) as cp,
    ):
        list(cp.map(str, [Opaque()]))


def test_a_checkpoint_of_items_without_a_value_is_not_called_damaged() -> None:
    """Earlier releases took the class for the value."""
    form = stopped_at(2, [*"abc"])

    with pytest.raises(ValuelessError, match="key="):
        loop_over([Opaque(), Opaque(), Opaque()], saved=form)


# -- data sets that can only be indexed -------------------------------------------------------------------------------


class DataSet:
    """A dataset of a training library: it has no ``__iter__``, and raises no IndexError at its end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> int:
        self.asked.append(position)
        return position * 10


@both_ways
def test_a_data_set_is_indexed_input() -> None:
    items = DataSet(1000)
    form = stopped_at(900, items)
    items.asked.clear()

    assert list(loop_over(items, saved=form)) == [number * 10 for number in range(900, 1000)]
    assert len(items.asked) < 130, "went through what is done"


@pytest.mark.parametrize("key", [None, str])
def test_a_data_set_by_key_and_in_a_map(key: Any) -> None:
    assert list(loop_over(DataSet(3), key=key)) == [0, 10, 20]
    with checkpointed("job", store=MemoryStore()) as cp:
        assert sorted(result for _, result in cp.map(str, DataSet(3), key=key)) == ["0", "10", "20"]


async def test_a_data_set_under_async_for() -> None:
    async with checkpointed("job", store=MemoryStore()) as cp:
        assert [item async for item in cp.remaining(DataSet(3))] == [0, 10, 20]


def test_what_has_a_length_only_is_still_refused() -> None:
    class Sized:
        def __len__(self) -> int:
            return 3

    for items in (Sized(), dict, 3):
        with pytest.raises(TypeError, match="must be an iterable"):
            loop_over(items)


# -- what the ways out cost -------------------------------------------------------------------------------------------


def ways_out(form: Any, items: list[str]) -> list[str]:
    with pytest.raises(InputChangedError) as caught:
        loop_over(items, saved=form)
    return caught.value.ways_out


def test_the_way_on_says_that_items_are_skipped() -> None:
    ways = ways_out(stopped_at(5, [*"abcdefghij"]), [*"abdefghij"])

    way = next(way for way in ways if "fingerprint=None" in way)
    assert "one is never done" in way


def test_the_place_of_the_last_done_item_is_offered() -> None:
    ways = ways_out(stopped_at(5, [*"abcdefghij"]), [*"abdefghij"])

    assert any("'e', which is items[3] now" in way and "remaining(items[4:])" in way for way in ways)


@pytest.mark.parametrize("items", [[*"abdxxfghij"], [*"abdeefghij"]], ids=["gone", "twice"])
def test_a_last_done_item_that_cannot_be_told_is_not_offered(items: list[str]) -> None:
    assert not any("last done item" in way for way in ways_out(stopped_at(5, [*"abcdefghij"]), items))


# -- keys -------------------------------------------------------------------------------------------------------------


def twice() -> Iterator[dict[str, Any]]:
    return iter([{"id": 1}, {"id": 2}, {"id": 1}, {"id": 2}, {"id": 3}])


def test_items_left_out_for_their_key_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    assert [item["id"] for item in loop_over(twice(), key="id")] == [1, 2, 3]

    assert [record.getMessage() for record in caplog.records] == [
        "crawl: several items have the key 1; only the first item of a key is done, the others are left out. "
        "If they are different work, give a unique key."
    ]


def test_items_that_an_earlier_run_has_done_are_no_duplicates(caplog: pytest.LogCaptureFixture) -> None:
    loop = loop_over([{"id": 1}, {"id": 2}, {"id": 3}], FakeOwner(), key="id")
    next(loop), next(loop)
    form = saved(loop)

    for item in loop_over([{"id": 1}, {"id": 2}, {"id": 3}], key="id", saved=form):
        assert item["id"] in (2, 3)
    assert not caplog.records
    list(loop_over(twice(), key="id", saved=form))
    assert len(caplog.records) == 1


def test_a_map_tells_of_them_too(caplog: pytest.LogCaptureFixture) -> None:
    with checkpointed("job", store=MemoryStore()) as cp:
        assert len(list(cp.map(str, twice(), key="id"))) == 3
    assert "several items have the key 1" in caplog.text


@pytest.mark.parametrize("name", ["caf\udce9.txt", "\ud83d"])
def test_a_key_that_is_not_unicode_is_refused_at_once_and_by_name(name: str) -> None:
    loop = loop_over(["a.txt", name], key=str)

    assert next(loop) == "a.txt"
    with pytest.raises(StateEncodeError, match=r"the key '.*' cannot be saved: .* lone surrogate.* key=ascii"):
        next(loop)
    assert list(loop_over(["a.txt", name], key=ascii)) == ["a.txt", name]


def test_a_key_in_another_script_is_taken() -> None:
    assert list(loop_over(["é", "日本", "𝄞"], key=str)) == ["é", "日本", "𝄞"]


class Called:
    """Its repr is its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Slotted:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return "<Slotted object>"


def test_an_object_of_which_the_repr_tells_the_class_only_has_no_digest() -> None:
    """All of them would be equal."""
    with pytest.raises(ValuelessError, match="Called"):
        digest(Called("Called object"))
    assert digest(Called("a")) != digest(Called("b"))
    with pytest.raises(ValuelessError, match="Slotted"):
        digest(Slotted("a"))
