"""The content of items that JSON cannot hold: bytes, rows, parts. Imports no package for that.

A repr is not enough: it omits the middle of arrays and frames, depends on the width of the terminal and print options,
and for most objects contains an address, which changes in every run.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
from collections import UserDict, UserList, deque
from collections.abc import Callable, Iterable, Mapping, MappingView
from hashlib import sha256
from itertools import chain, islice
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from ..._json import is_plain

NAMED = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type)
"""What is identified by its name."""
_PLAIN = (str, int, float, bool, type(None))
_ADDRESS = " at 0x"
_WORD = re.compile(r"\w+")
_SETS = (set, frozenset)
_MAY_DIFFER = re.compile(r"[{<\n]|array\(|dtype|\.\.\.")
"""In each repr that shows a set, an array, a frame or a file."""
_MOST = 10_000
"""How many values are searched for sets, at most."""


class ValuelessError(TypeError):
    """An item has no value that could be compared in another run; the text names the class."""


def stand_in(item: Any) -> Any:
    """A value that JSON can hold instead of *item*, equal in every process for equal items.

    Raises:
        ValuelessError: Nothing but the object's identity is known.
    """
    if isinstance(item, os.PathLike):
        return str(item)
    for is_one, give in _KINDS:
        if is_one(item):
            try:
                return [_name_of(type(item)), give(item)]
            except ValuelessError:
                raise
            except Exception:  # whatever a foreign object does
                continue
    return stable_repr(item)


def stable_repr(item: object) -> str:
    """The repr.

    Raises:
        ValuelessError: It would differ in another process.
    """
    if isinstance(item, _SETS):
        # Text has another hash in every process, which changes a set's order.
        return "{" + ", ".join(sorted(map(stable_repr, item))) + "}"
    if isinstance(item, NAMED):
        return _name_of(item) + _owner_of(item)
    try:
        text = repr(item)
    except Exception:
        raise ValuelessError(_name_of(type(item))) from None
    if _ADDRESS in text or _tells_class_only(text, item):
        raise ValuelessError(_name_of(type(item)))
    return _made_exact(text, item) if _MAY_DIFFER.search(text) and not is_plain(item) else text


def _tells_class_only(text: str, item: object) -> bool:
    """Whether a repr, such as ``<Row>``, contains only the class's name although *item* has content."""
    kind = type(item)
    if not getattr(item, "__dict__", None) and not _has_slots(kind):
        return False
    names = {"object", "instance", *_WORD.findall(f"{kind.__module__}.{kind.__qualname__}".lower())}
    return names.issuperset(_WORD.findall(text.lower()))


def _has_slots(kind: type) -> bool:
    for one in kind.__mro__:  # noqa: SIM110  # a generator would take three times as long
        if one.__dict__.get("__slots__"):
            return True
    return False


def _owner_of(item: Any) -> str:
    """The value of the object that a bound method belongs to, the defaults of a lambda; "" if there is neither."""
    if isinstance(item, FunctionType) and item.__name__ == "<lambda>":
        given = [one for one in item.__defaults__ or () if isinstance(one, _PLAIN)]
        return repr(given) if given else ""
    owner = getattr(item, "__self__", None)
    if owner is None or isinstance(owner, (ModuleType, type)):
        return ""
    try:
        return f" of {stand_in(owner)!r}"
    except ValuelessError:
        return ""


def _name_of(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', None) or thing.__name__}"


# -- what a repr shows in a way that differs: sets have another order in each process, arrays and frames are abridged


def holds_nested_sets(items: Iterable[Any]) -> bool:
    """Whether a set that holds a set is in one of *items*. JSON sorts the members, and ``<`` is no order for sets."""
    sets = (one for item in items for one in _within(item, _is_set, _has_fields))
    return any(_within(member, _is_set, _has_fields) for one in sets for member in one)


def _within(item: Any, is_one: Callable[[Any], bool], is_open: Callable[[Any], bool]) -> list[Any]:
    """What *is_one* finds in *item*: in containers, and in attributes of what *is_open* finds; outer ones first."""
    todo, seen, found = [item], set[int](), []
    for one in todo:  # the list grows meanwhile
        if type(one) in _PLAIN or isinstance(one, NAMED) or id(one) in seen:
            continue
        seen.add(id(one))
        if is_one(one):
            found.append(one)
        with contextlib.suppress(Exception):  # whatever a foreign object does
            todo += list(islice(_inside(one, is_open), max(0, _MOST - len(todo))))
    return found


def _inside(item: Any, is_open: Callable[[Any], bool]) -> Any:
    if isinstance(item, (dict, MappingProxyType)):
        return chain(item, item.values())
    if isinstance(item, (list, tuple, deque, MappingView, *_SETS)):
        return item
    if isinstance(item, functools.partial):
        return item.args, item.keywords
    parts = _attributes(item).values() if is_open(item) and not _has_cells(item) else ()
    return chain(item.args, parts) if isinstance(item, BaseException) else parts


def _made_exact(text: str, item: Any) -> str:
    """*text*, the repr of *item*, with the sets, arrays and frames that it shows in a form that never differs."""

    def is_shown(one: Any) -> bool:  # not what lies behind it, such as the session of a row
        return one is item or type(one).__name__ in text or isinstance(one, _SHOWN_WITHOUT_NAME)

    forms: dict[str, list[str]] = {}  # two arrays may be shown alike
    for one in _within(item, lambda one: one is not item and _is_shown_otherwise(one), is_shown):
        with contextlib.suppress(Exception):  # it may have no repr
            texts = [repr(one), str(one)]
            for shown in texts if "..." in texts[1] or "\n" in texts[1] else texts[:1]:
                if shown in text:
                    forms.setdefault(shown, []).append(stable_repr(one) if _is_set(one) else repr(stand_in(one)))
    for shown, given in forms.items():  # outer sets first
        text = text.replace(shown, " ".join(dict.fromkeys(given)))
    return text


_SHOWN_WITHOUT_NAME = (BaseException, SimpleNamespace, UserDict, UserList)


def _is_set(item: Any) -> bool:
    return isinstance(item, _SETS)


def _is_shown_otherwise(item: Any) -> bool:
    return _is_set(item) or _has_cells(item) or _is_named_file(item)


# -- arrays and frames


def _is_from(*packages: str) -> Callable[[Any], bool]:
    """A test whether an object's class, or a base of it, comes from one of *packages*."""

    @functools.lru_cache
    def is_kind(kind: Any) -> bool:
        return any(one.__module__.partition(".")[0] in packages for one in kind.__mro__)

    return lambda item: is_kind(_kind_of(item))


def _kind_of(item: Any) -> Any:  # for the type checker, a type cannot be hashed
    return type(item)


def _hex(raw: Any) -> str:
    return sha256(raw).hexdigest()


def _array(array: Any) -> Any:
    """A numpy array or scalar: the bytes of its buffer, in index order."""
    if array.dtype.hasobject:
        return [str(array.dtype), list(array.shape), _part(array.tolist())]
    return [repr(array.dtype.descr), list(array.shape), _hex(array.tobytes())]


def _is_tensor(item: Any) -> bool:
    # Not everything that numpy accepts: it would read all of a data set on disk.
    return hasattr(type(item), "__array__") and (hasattr(item, "detach") or _is_from("jax", "jaxlib")(item))


def _tensor(item: Any) -> Any:
    on_host = item.detach().cpu() if hasattr(item, "detach") else item
    return _array(on_host.__array__())


def _picture(item: Any) -> Any:
    """An object with a buffer in the form of numpy's arrays, such as an image of PIL."""
    shown = item.__array_interface__
    palette = item.getpalette() if hasattr(item, "getpalette") else None
    return [shown["typestr"], list(shown["shape"]), _hex(bytes(shown["data"])), getattr(item, "mode", ""), palette]


def _pandas(item: Any) -> Any:
    """A frame, a series, an index or a column of a kind of pandas' own; pandas hashes each value."""
    pandas = sys.modules["pandas"]
    util = pandas.util
    if isinstance(item, pandas.api.extensions.ExtensionArray):  # its repr shows the ends only
        item = pandas.Series(item)
    columns, shape = [[_label(name), _dtype(dtype)] for name, dtype in _columns(item)], list(item.shape)
    objects, item = _split_off_objects(item)
    try:
        hashes: Any = _hex(util.hash_pandas_object(item).to_numpy().tobytes())
    except TypeError:  # lists and dicts in it have no hash
        hashes = _part([item.index.tolist(), item.to_numpy().tolist()])
    return [columns, list(map(_label, _index_of(item).names)), shape, hashes, objects]


def _index_of(item: Any) -> Any:
    return getattr(item, "index", item)


def _dtype(dtype: Any) -> Any:
    """The dtype; of a category, its values and their order too."""
    categories = getattr(dtype, "categories", None)
    return str(dtype) if categories is None else [str(dtype), bool(dtype.ordered), _pandas(categories)]


def _split_off_objects(item: Any) -> tuple[Any, Any]:
    """The values in columns of objects, and what is left to hash: pandas would hash 1 as "1", and a set by its repr."""
    infer = sys.modules["pandas"].api.types.infer_dtype
    if not hasattr(item, "columns"):
        if item.dtype != object or not hasattr(item, "index"):
            return [], item
        kind = infer(item, skipna=False)
        return ([kind, _part(list(item))], item.index) if kind.startswith("mixed") else ([kind], item)
    parts = [_split_off_objects(item.iloc[:, at]) for at in range(item.shape[1])]
    left = [at for at, (_, rest) in enumerate(parts) if hasattr(rest, "index")]
    return [objects for objects, _ in parts if objects], item.iloc[:, left]


def _columns(item: Any) -> Iterable[tuple[Any, Any]]:
    return item.dtypes.items() if hasattr(item, "columns") else [(getattr(item, "name", None), item.dtype)]


def _label(name: Any) -> Any:
    return name if isinstance(name, str) else stable_repr(name)


def _polars(item: Any) -> Any:
    """A frame or a series. A lazy frame has no rows yet, but its plan says where they come from."""
    if hasattr(item, "explain"):
        return _plan(item)
    frame = item if hasattr(item, "hash_rows") else item.to_frame()
    columns = [[name, str(dtype)] for name, dtype in frame.schema.items()]
    try:
        hashes = frame.hash_rows(1, 2, 3, 4).to_list()
    except Exception:  # nested columns have no hash
        hashes = _part(frame.rows()) if any(dtype == "Object" for _, dtype in columns) else frame.rows()
    return [columns, list(frame.shape), _hex(repr(hashes).encode("utf-8", "surrogatepass"))]


def _plan(lazy: Any) -> str:
    plan = str(lazy.explain(optimized=False))
    if _IN_MEMORY.search(plan):
        raise ValuelessError(_name_of(type(lazy)))
    return plan


_IN_MEMORY = re.compile(r"^\s*DF \[", re.MULTILINE)
"""In a plan, a frame in memory is shown by its columns only."""


def _arrow(item: Any) -> Any:
    """A table, a batch or an array of pyarrow, whatever its chunks are."""
    arrow = sys.modules["pyarrow"]
    if hasattr(item, "as_py"):
        return [str(item.type), item.as_py()]
    if not hasattr(item, "schema"):
        item = arrow.table({"": item})
    table = arrow.Table.from_batches([item]) if hasattr(item, "to_struct_array") and not _is_table(item) else item
    if _VALUES_ELSEWHERE.search(str(table.schema)):
        return [str(table.schema), table.num_rows, _part([column.to_pylist() for column in table.columns])]
    batches = table.combine_chunks().to_batches()
    # Slices keep the buffers of the whole; the result of take() has its own.
    own = [arrow.Table.from_batches([batch]).take(list(range(batch.num_rows))) for batch in batches if batch.num_rows]
    raw = [batch.serialize().to_pybytes() for table in own for batch in table.combine_chunks().to_batches()]
    return [str(table.schema), table.num_rows, [_hex(one) for one in raw]]


_VALUES_ELSEWHERE = re.compile(r"dictionary<|_view\b")
"""Types whose values a batch does not write with it, or of which pyarrow cannot take some."""


def _is_table(item: Any) -> bool:
    return hasattr(item, "to_batches")


# -- rows, models, parts


def _is_sqlite_row(item: Any) -> bool:
    return isinstance(item, getattr(sys.modules.get("sqlite3"), "Row", ()))


def _sqlite_row(row: Any) -> Any:
    return [row.keys(), tuple(row)]  # not a dict, because two columns may have one name


def _is_model(item: Any) -> bool:
    return hasattr(type(item), "__pydantic_fields__") and hasattr(item, "__dict__")


def _is_buffer(item: Any) -> bool:
    try:
        memoryview(item)
    except TypeError:
        return False
    return True


def _buffer(item: Any) -> Any:
    view = memoryview(item)
    if _POINTER.search(_FIELD_NAME.sub("", view.format)):  # of ctypes: an address
        raise ValuelessError(_name_of(type(item)))
    return [view.format, list(view.shape or ()), _hex(view.tobytes())]


_POINTER, _FIELD_NAME = re.compile("[&PzZO]"), re.compile(":[^:]*:")


def _mapping(item: Any) -> Any:
    """A dict whose keys JSON refuses, or another mapping; the order of keys does not count."""
    pairs = [[stand_in(key) if not isinstance(key, str) else key, _part(value)] for key, value in item.items()]
    return sorted(pairs, key=lambda pair: repr(pair[0]))


def _part(value: Any) -> Any:
    return value if type(value) in _PLAIN else [_part(one) for one in value] if _is_row(value) else stand_in(value)


def _is_row(value: Any) -> bool:
    return type(value) in (list, tuple)


def _is_shown_in_part(item: Any) -> bool:
    """Whether the repr of an object with attributes depends on print options, or on the order of a set."""
    return any(_is_set(one) or _has_cells(one) for one in _attributes(item).values())


_has_cells = _is_from("numpy", "pandas", "polars", "pyarrow")


def _attributes(item: Any) -> dict[str, Any]:
    """The attributes that *item* holds, those in slots too; without those that are computed once."""
    kind = type(item)
    if isinstance(item, type):
        return {}
    held = {name: getattr(item, name) for name in _slots_of(_kind_of(item)) if hasattr(item, name)}
    own = getattr(item, "__dict__", None)
    held |= own if isinstance(own, dict) else {}
    return {name: one for name, one in held.items() if not isinstance(getattr(kind, name, None), _COMPUTED)}


_COMPUTED = functools.cached_property


@functools.lru_cache
def _slots_of(kind: Any) -> tuple[str, ...]:
    given = (one.__dict__.get("__slots__", ()) for one in kind.__mro__)
    if hasattr(kind, "__struct_fields__"):
        return tuple(kind.__struct_fields__)
    return tuple(chain.from_iterable((one,) if isinstance(one, str) else one for one in given))


def _by_attributes(item: Any) -> Any:
    try:
        return _mapping(_attributes(item))
    except ValuelessError:
        return stable_repr(item)


def _fields(kind: Any) -> Iterable[str] | None:
    """The fields of a class of records; None for other classes."""
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__struct_fields__", None)
    attributes = getattr(kind, "__attrs_attrs__", None)
    return [one.name for one in attributes] if attributes is not None else names


def _has_fields(item: Any) -> bool:
    return not isinstance(item, type) and _fields(type(item)) is not None


def _by_fields(item: Any) -> Any:
    """A record with a field that JSON lacks; its repr may leave out another field."""
    try:
        return _mapping({name: getattr(item, name) for name in _fields(type(item)) or () if hasattr(item, name)})
    except ValuelessError:
        return stable_repr(item)


def _base_value(item: Any) -> Any:
    """The text or the number of a subclass, whose repr may be its own."""
    if isinstance(item, str):
        return str.__str__(item)
    return int.__repr__(item) if isinstance(item, int) else float.__repr__(item)


def _partial(item: Any) -> Any:
    return [_name_of(item.func), _part(list(item.args)), _mapping(item.keywords)]


def _is_named_file(item: Any) -> bool:
    return isinstance(item, io.IOBase) and isinstance(getattr(item, "name", None), (str, bytes))


def _parts(item: Any) -> Any:
    return [_part(one) for one in item]


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (_is_sqlite_row, _sqlite_row),
    (_is_from("numpy"), _array),
    (_is_from("pandas"), _pandas),
    (_is_from("polars"), _polars),
    (_is_from("pyarrow"), _arrow),
    (_is_tensor, _tensor),
    (lambda item: hasattr(type(item), "__array_interface__"), _picture),
    (_is_model, lambda item: _mapping(vars(item) | (getattr(item, "__pydantic_extra__", None) or {}))),
    (_has_fields, _by_fields),
    (lambda item: isinstance(item, (str, int, float)), _base_value),
    (lambda item: isinstance(item, re.Pattern), lambda item: [_part(item.pattern), item.flags]),
    (lambda item: isinstance(item, functools.partial), _partial),
    (lambda item: isinstance(item, Mapping), _mapping),
    (_is_row, lambda item: [_part(one) for one in item]),
    (lambda item: isinstance(item, (deque, list, tuple, UserList, MappingView)), _parts),
    (lambda item: type(item) is SimpleNamespace, lambda item: _mapping(vars(item))),
    (lambda item: isinstance(item, OSError), lambda item: _part([*item.args, item.filename])),
    (lambda item: isinstance(item, BaseException), lambda item: _part(item.args)),
    (_is_named_file, lambda item: item.name),  # its repr has an encoding, which depends on the locale
    (_is_buffer, _buffer),
    (_is_shown_in_part, _by_attributes),
)
"""How to recognize a kind, and what to take of it; the first that fits and works counts."""
