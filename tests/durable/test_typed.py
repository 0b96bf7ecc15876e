"""Durable collections of typed values."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from collections.abc import Callable
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypedDict
from uuid import UUID, uuid4

import msgspec
import pydantic
import pytest

from resumable import InputChangedError, StateEncodeError, checkpointed, every

UTC = dt.UTC
WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Kind(enum.Enum):
    CODE = "code"
    TEXT = "text"


@dataclasses.dataclass
class File:
    path: str
    size: int
    when: dt.datetime = WHEN
    kind: Kind = Kind.CODE
    raw: bytes = b"\xff"
    tags: list[str] = dataclasses.field(default_factory=list)


class StructFile(msgspec.Struct):
    path: str
    size: int
    when: dt.datetime = WHEN
    kind: Kind = Kind.CODE
    raw: bytes = b"\xff"
    tags: list[str] = []


class ModelFile(pydantic.BaseModel):
    path: str
    size: int
    when: dt.datetime = WHEN
    kind: Kind = Kind.CODE
    tags: list[str] = []


KINDS = [File, StructFile, ModelFile]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(body: Callable[[Any], object], **options: Any) -> None:
    """A run that ends with its checkpoint kept."""
    with checkpointed("job", every(items=1), store="ck", **options) as cp:
        body(cp)
        cp.keep()


def stored(name: str = "files") -> Any:
    """The plain form in the checkpoint."""
    found: list[Any] = []
    run(lambda cp: found.append(cp.state[name]))
    return json.loads(json.dumps(found[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_as_what_they_were(kind: Any) -> None:
    value = kind(path="a", size=3, kind=Kind.TEXT, tags=["x"])

    def first(cp: Any) -> None:
        files = cp.mapping("files", kind)
        files["a"] = value
        files.update({"b": kind(path="b", size=1)})
        assert files.setdefault("c", kind(path="c", size=2)).size == 2
        cp.log("rows", kind).append(value)
        cp.log("rows", kind).extend([value, value])
        cp.save()
        assert files["a"] == value

    def second(cp: Any) -> None:
        files, rows = cp.mapping("files", kind), cp.log("rows", kind)
        assert files["a"] == value
        assert type(files["a"]) is kind
        assert files["a"] is files["a"]
        assert [*files] == ["a", "b", "c"]
        assert dict(files) == {**files} == files.copy() == dict(files.items()) == files
        assert files != {}
        assert repr(files) == repr(dict(files))
        assert files | {"z": 1} == {**files, "z": 1}
        assert files.get("z") is None
        assert files.pop("b") == kind(path="b", size=1)
        assert files.popitem()[0] == "c"
        del files["a"]
        assert not files
        assert [*rows] == rows[:] == [value] * 3
        assert rows[-1] == rows[0] == value
        assert value in rows
        assert rows != []
        assert rows + [value] == [value] * 4  # noqa: RUF005  # this is what is tried
        assert (rows.index(value), rows.count(value)) == (0, 3)
        assert [*reversed(rows)] == rows.copy() == rows

    run(first)
    run(second)
    assert stored() == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("others", [0, 500])
def test_a_value_that_is_changed_in_place_is_saved(kind: Any, others: int) -> None:
    def first(cp: Any) -> None:
        files = cp.mapping("files", kind)
        files.update({f"{n}": kind(path="o", size=n) for n in range(others)})
        held = files["a"] = kind(path="a", size=0)
        cp.save()
        held.size = 1
        cp.save()
        files["a"].tags.append("x")
        cp.save()
        tags = files["a"].tags
        del held
        cp.save()
        tags.append("y")
        cp.save()

    def second(cp: Any) -> None:
        cp.mapping("files", kind)["a"].size += 1
        cp.save()
        cp.mapping("files", kind)["a"].size += 1

    run(first)
    assert (stored()["a"]["size"], stored()["a"]["tags"]) == (1, ["x", "y"])
    run(second)
    assert stored()["a"]["size"] == 3
    assert len(stored()) == 1 + others


def test_other_classes_work_too() -> None:
    ids, day = [uuid4() for _ in range(3)], dt.date(2026, 1, 2)

    def first(cp: Any) -> None:
        cp.set("seen", UUID).update(ids)
        cp.set("days", dt.date).add(day)
        cp.set("paths", PurePosixPath).add(PurePosixPath("a/b"))
        cp.mapping("when", dt.datetime)["a"] = WHEN
        cp.log("raw", bytes).append(b"\xff")
        cp.save()
        cp.set("seen", UUID).discard(ids[0])

    def second(cp: Any) -> None:
        seen = cp.set("seen", UUID)
        assert seen == set(ids[1:])
        assert ids[1] in seen
        assert ids[0] not in seen
        assert cp.set("days", dt.date) == {day}
        assert cp.set("paths", PurePosixPath) == {PurePosixPath("a/b")}
        assert cp.mapping("when", dt.datetime)["a"] == WHEN
        assert [*cp.log("raw", bytes)] == [b"\xff"]
        seen.add(ids[0])

    run(first)
    run(second)


def test_an_item_that_failed_leaves_no_value() -> None:
    def body(cp: Any, fail: bool) -> None:
        files, rows, seen = cp.mapping("files", File), cp.log("rows", File), cp.set("seen", dt.date)
        for n in cp.remaining(range(3)):
            files[f"{n}"] = File("a", n)
            rows.append(File("a", n))
            seen.add(dt.date(2026, 1, 1 + n))
            if fail and n == 1:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(lambda cp: body(cp, True))
    run(lambda cp: body(cp, False))

    def check(cp: Any) -> None:
        assert [row.size for row in cp.log("rows", File)] == [0, 1, 2]
        assert [file.size for file in cp.mapping("files", File).values()] == [0, 1, 2]
        assert len(cp.set("seen", dt.date)) == 3

    run(check)


def test_workers_of_a_map_may_write() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def body(cp: Any) -> None:
        files, rows = cp.mapping("files", File), cp.log("rows", File)

        def work(n: int) -> None:
            rows.append(File("a", n))
            files[f"{n}"] = File("a", n)

        with ThreadPoolExecutor(4) as pool:
            for _ in cp.map(work, range(50), executor=pool):
                pass
        assert sorted(row.size for row in rows) == [*range(50)]

    run(body)
    assert len(stored()) == 50


# -- what is refused --------------------------------------------------------------------------------------------------


class Sub(File):
    pass


@dataclasses.dataclass
class Loose:
    value: Any


@dataclasses.dataclass
class Wanting:
    amount: float


@pytest.mark.parametrize(
    ("kind", "value", "error", "text"),
    [
        pytest.param(File, {"path": "a"}, TypeError, r"files\.a takes File, not dict", id="a dict"),
        pytest.param(File, Sub("a", 1), TypeError, "takes File, not Sub", id="a subclass"),
        pytest.param(File, File("a", "3"), StateEncodeError, r"files\.a\.size", id="another type"),  # type: ignore[arg-type]
        pytest.param(File, File("\ud800", 1), StateEncodeError, r"files\.a\.path cannot", id="no Unicode"),
        pytest.param(Wanting, Wanting("much"), StateEncodeError, r"files\.a\.amount", id="no number"),  # type: ignore[arg-type]
        pytest.param(Loose, Loose(WHEN), StateEncodeError, "comes back as a str", id="a date in Any"),
        pytest.param(Loose, Loose((1, 2)), StateEncodeError, "comes back as a list", id="a tuple in Any"),
    ],
)
def test_a_value_that_would_not_come_back_is_refused_where_it_is_put_in(
    kind: Any, value: Any, error: type[Exception], text: str
) -> None:
    def body(cp: Any) -> None:
        files, rows = cp.mapping("files", kind), cp.log("files rows", kind)
        with pytest.raises(error, match=text):
            files["a"] = value
        with pytest.raises(error, match="files rows"):
            rows.append(value)
        assert not files
        assert not rows

    run(body)


def test_what_only_a_close_look_finds_is_refused_by_the_save() -> None:
    class Hour(dt.tzinfo):
        """A zone that is equal to another one in what JSON holds, and not in its rules."""

        def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
            return None if when is None else dt.timedelta(hours=1)

        def dst(self, when: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(0)

    with pytest.raises(StateEncodeError, match=r"\$\.state\.files\.a\.when"):
        run(lambda cp: (cp.mapping("files", File).update(a=File("a", 1, WHEN.astimezone(Hour()))), cp.save()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [object(), "\udcff", {(1, 2): 3}, ...])
def test_a_change_that_cannot_be_encoded_is_refused_with_its_place(kind: Any, wrong: Any) -> None:
    """It ended the block in an error of the library that encodes, and nothing named the value."""
    done = []
    with (  # noqa: PT012
        pytest.raises(StateEncodeError, match=r"\$\.state\.files\.a\.tags"),
        checkpointed("job", every(items=1)) as cp,
    ):
        files = cp.mapping("files", kind)
        for number in cp.remaining(range(4)):
            done.append(number)
            file = files.setdefault("a", kind(path="a", size=0))
            file.size = number
            if number == 2:
                file.tags.append(wrong)

    assert done == [0, 1, 2]
    with checkpointed("job") as cp:
        assert cp.mapping("files", kind)["a"] == kind(path="a", size=1)
        assert next(iter(cp.remaining(range(4)))) == 2
        cp.save()


def test_an_entry_of_a_log_that_changes_is_refused() -> None:
    def body(cp: Any) -> None:
        row = File("a", 1)
        cp.log("rows", File).append(row)
        cp.save()
        row.size = 2
        cp.save()

    with pytest.raises(StateEncodeError, match=r"rows\[0\] cannot be saved: it was changed after it was appended"):
        run(body)


@dataclasses.dataclass
class Number:
    x: float


@dataclasses.dataclass
class NumberAndNote:
    x: float
    note: str = "none"


@pytest.mark.parametrize("then", [Number, NumberAndNote], ids=["the same class", "a class with a new field"])
def test_reading_an_entry_whose_json_is_another_is_no_change(then: Any) -> None:
    """1 is as good as 1.0 for a float, and what a field lacks is its default: a log refuses changes."""
    run(lambda cp: cp.log("rows", Number).extend([Number(1), Number(2.5)]))

    def read(cp: Any) -> None:
        rows = cp.log("rows", then)
        held = [*rows]
        assert type(held[0].x) is float
        cp.save()
        rows.append(then(3))
        held = [*rows]
        cp.save()
        assert len(held) == 3

    run(read)
    assert [row["x"] for row in stored("rows")] == [1, 2.5, 3]


class Fields(TypedDict):
    x: int


@pytest.mark.parametrize("kind", ["mapping", "log", "set"])
@pytest.mark.parametrize(("of", "name", "plain"), [(float, "float64", 1.5), (int, "int64", 7), (str, "str_", "x")])
def test_scalars_of_numpy_are_the_plain_values_that_they_are(kind: str, of: Any, name: str, plain: Any) -> None:
    value = getattr(pytest.importorskip("numpy"), name)(plain)

    def body(cp: Any) -> None:
        held = getattr(cp, kind)("files", of)
        if kind == "mapping":
            held["a"] = value
        else:
            getattr(held, "append" if kind == "log" else "add")(value)

    run(body)
    held: list[Any] = []
    run(lambda cp: held.extend(dict(cp.state["files"]).values() if kind == "mapping" else cp.state["files"]))
    assert (type(held[0]), held[0]) == (of, plain)


@pytest.mark.parametrize("kind", [3, "File", complex, object, dict[str, int], Any, Fields], ids=repr)
def test_a_class_that_never_comes_back_is_refused(kind: Any) -> None:
    def body(cp: Any) -> None:
        with pytest.raises(TypeError, match="files"):
            cp.mapping("files", kind)

    run(body)


@pytest.mark.parametrize("kind", [Path, PurePath, PurePosixPath])
def test_paths_have_a_class_of_their_own(kind: Any) -> None:
    """`Path("a")` is a PosixPath."""
    run(lambda cp: cp.mapping("files", kind).update(a=kind("a")))
    run(lambda cp: cp.log("log", kind).append(kind("b")))

    def check(cp: Any) -> None:
        assert cp.mapping("files", kind) == {"a": kind("a")}
        assert list(cp.log("log", kind)) == [kind("b")]
        with pytest.raises(TypeError, match="not str"):
            cp.mapping("files", kind)["b"] = "b"

    run(check)


def test_members_of_a_set_need_a_simple_form() -> None:
    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int

    def body(cp: Any) -> None:
        with pytest.raises(StateEncodeError, match="neither a string nor a number"):
            cp.set("seen", Point).add(Point(1))

    run(body)


def test_a_name_has_one_class() -> None:
    def body(cp: Any) -> None:
        cp.mapping("files", File)
        assert cp.mapping("files") is cp.mapping("files", File)
        with pytest.raises(TypeError, match="values of the class File, not StructFile"):
            cp.mapping("files", StructFile)

    run(body)


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        pytest.param({"path": "a", "size": "3"}, "Expected `int`", id="another type"),
        pytest.param({"path": "a"}, "size", id="a field is missing"),
        pytest.param({"path": "a", "size": 1, "owner": "me"}, "no field 'owner'", id="an unknown field"),
        pytest.param(3, "files", id="no object"),
    ],
)
@pytest.mark.parametrize("where", [0, 200])
def test_a_loaded_value_that_does_not_fit_is_refused(plain: Any, text: str, where: int) -> None:
    good = {"path": "a", "size": 1}
    run(lambda cp: cp.mapping("files").update({f"{n}": plain if n == where else good for n in range(201)}))

    with pytest.raises(InputChangedError, match=text):
        run(lambda cp: [*cp.mapping("files", File).values()])


def test_older_values_get_the_defaults_of_new_fields() -> None:
    run(lambda cp: cp.mapping("files").update(a={"path": "a", "size": 1}))

    def body(cp: Any) -> None:
        assert cp.mapping("files", File)["a"] == File("a", 1)

    run(body)


@pytest.mark.slow
def test_all_can_be_read_between_two_saves() -> None:
    """More than are remembered."""
    run(lambda cp: cp.mapping("files").update({f"{n}": {"path": "a", "size": n} for n in range(10_000)}))

    def body(cp: Any) -> None:
        files = cp.mapping("files", File)
        first = files["0"]
        assert sum(file.size for file in files.values()) == sum(range(10_000))
        first.size = 7

    run(body)
    assert stored()["0"]["size"] == 7
    assert len(stored()) == 10_000
