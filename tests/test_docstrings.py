"""Every example in a docstring runs, and what users touch has one."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tenacity

import resumable
import resumable.stores

FACES = ("resumable", "resumable.stores", "resumable.ratelimit", "resumable.testing")
METHODS = (
    "tick",
    "save",
    "remaining",
    "pages",
    "once",
    "map",
    "sink",
    "artifact",
    "retrying",
    "mapping",
    "set",
    "log",
    "observe",
)


def public() -> Iterator[tuple[str, Any]]:
    """What a user can import, and the public methods of its classes, with their docstrings."""
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            found = getattr(module, name)
            yield f"{face}.{name}", found
            if inspect.isclass(found):
                for method in dir(found):
                    if not method.startswith("_"):
                        yield f"{face}.{name}.{method}", getattr(found, method)


EXAMPLES = {name: each for name, each in public() if ">>>" in (getattr(each, "__doc__", None) or "")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"asyncio": asyncio, "datetime": datetime, "tenacity": tenacity}
    names |= {"ThreadPoolExecutor": ThreadPoolExecutor, "__name__": "examples"}
    for face in (resumable, resumable.stores):
        names |= {each: getattr(face, each) for each in face.__all__}
    told: list[str] = []

    with resumable.checkpointed("example") as cp:
        test = doctest.DocTestParser().get_doctest(EXAMPLES[name].__doc__, names | {"cp": cp}, name, None, 0)
        doctest.DocTestRunner().run(test, out=told.append)

    assert "".join(told) == ""


def test_what_users_touch_has_an_example() -> None:
    touched = [name for name in resumable.__all__ if not name.startswith("__")]
    touched = [
        f"resumable.{name}"
        for name in touched
        if not (inspect.isclass(kind := getattr(resumable, name)) and issubclass(kind, BaseException))
        and name != "CheckpointStore"  # a protocol, for those who write a store
    ]
    methods = [f"resumable.Checkpoint.{name}" for name in METHODS]

    assert [name for name in (*touched, *methods) if name not in EXAMPLES] == []
