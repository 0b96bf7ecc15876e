"""What to keep in the place of a value that JSON cannot hold."""

from __future__ import annotations

import enum
from typing import Any

from .words import kind_of, shortened

_TYPED = "give a typed state: checkpointed(..., state=MyState)"
_FILE = "what is large, write into a file that goes with the checkpoint: cp.artifact(name)"
_TRACK = "let it go with the checkpoint: cp.track(x)"
_HINTS = {
    "set": "use sorted(...) or cp.set(name)",
    "frozenset": "use sorted(...)",
    "bytes": f"decode it to str, or keep x.hex(); {_FILE}",
    "bytearray": f"keep x.hex(); {_FILE}",
    "complex": "keep [x.real, x.imag]",
    "datetime.datetime": f"keep x.isoformat(), or {_TYPED}",
    "datetime.date": f"keep x.isoformat(), or {_TYPED}",
    "datetime.time": f"keep x.isoformat(), or {_TYPED}",
    "datetime.timedelta": f"keep x.total_seconds(), or {_TYPED}",
    "decimal.Decimal": f"keep str(x), or {_TYPED}",
    "uuid.UUID": f"keep str(x), or {_TYPED}",
    "pathlib.PosixPath": f"keep str(x), or {_TYPED}",
    "pathlib.WindowsPath": f"keep str(x), or {_TYPED}",
    "collections.deque": "keep list(x)",
    "range": "keep list(x), or [x.start, x.stop, x.step]",
    "generator": "keep what it gives: list(x)",
    "re.Pattern": "keep x.pattern",
    "function": "keep its name",
    "random.Random": _TRACK,
    "_io.TextIOWrapper": "write to cp.sink(path), which goes with the checkpoint",
    "_io.BufferedWriter": "write to cp.sink(path, 'b'), which goes with the checkpoint",
}
_PLAINLY = f"keep plain JSON in the state, or {_TYPED}"
_HINTS_BY_NAME = {
    ("numpy", "ndarray"): f"keep x.tolist(), which gives plain numbers and lists; {_FILE}",
    ("numpy", "Generator"): _TRACK,
    ("numpy", "RandomState"): _TRACK,
    ("numpy", "longdouble"): "keep float(x), which is less exact, or str(x)",
    ("numpy", "complex64"): "keep [float(x.real), float(x.imag)]",
    ("numpy", "complex128"): "keep [float(x.real), float(x.imag)]",
    ("numpy", "bytes_"): "decode it to str, or keep x.hex()",
    ("numpy", "datetime64"): "keep str(x)",
    ("numpy", "timedelta64"): "keep str(x)",
    ("pandas", "DataFrame"): f"keep x.to_dict('records'); {_FILE}",
    ("pandas", "Series"): f"keep x.tolist(); {_FILE}",
    ("pandas", "Timestamp"): "keep x.isoformat()",
    ("pandas", "NAType"): "keep None instead",
    ("pandas", "NaTType"): "keep None instead",
    ("polars", "DataFrame"): f"keep x.to_dicts(); {_FILE}",
    ("polars", "Series"): f"keep x.to_list(); {_FILE}",
    ("torch", "Generator"): _TRACK,
}
_HINTS_BY_PACKAGE = {
    "numpy": "keep x.tolist(), which gives plain numbers and lists",
    "torch": f"keep float(x) of a single number, or x.tolist(); {_FILE}",
    "jaxlib": f"keep float(x) of a single number, or x.tolist(); {_FILE}",
    "tensorflow": f"keep float(x) of a single number, or x.numpy().tolist(); {_FILE}",
}


def cure(value: Any) -> str:
    """What to keep instead of *value*; "" if nothing is known for its type."""
    kind = kind_of(value)
    package, name = kind.partition(".")[0], type(value).__name__
    hint = _HINTS.get(kind) or _HINTS_BY_NAME.get((package, name)) or _hint_by_form(value)
    return hint or _HINTS_BY_PACKAGE.get(package, "")


def advice(value: Any) -> str:
    """Why JSON cannot hold *value*, and what to keep instead."""
    hint = cure(value) or _PLAINLY
    return f"{shortened(value)} is of type {kind_of(value)}, which JSON cannot hold exactly; {hint}"


def _hint_by_form(value: Any) -> str:
    """What to do with values of the program's own classes."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return f"keep x.name, or {_TYPED}"
    fields = ("__dataclass_fields__", "__struct_fields__", "__pydantic_fields__")
    if any(hasattr(kind, name) for name in fields):
        return f"{_TYPED}; or keep many of them by key: cp.mapping(name, {kind.__name__})"
    return f"{_TRACK}, if its state_dict() is plain JSON; {_FILE}" if hasattr(kind, "load_state_dict") else ""
