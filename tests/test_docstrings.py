"""Every example in a docstring runs, and every public function, class and method has one."""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import requests
import tenacity

import resumable
import resumable.stores

FACES = ("resumable", "resumable.stores", "resumable.ratelimit", "resumable.testing")
CONTRACT = {"CheckpointStore", "Lease", "SimpleStore", "ArtifactStore", "ArtifactLease", "EndingLease", "WishStore"}
"""What a store must do, for those who write one; what those of ours do by it, has no example for each verb."""
INNER = {"at_risk", "interval_seconds", "plan", "spaced", "should_save", "locate", "opened", "seal", "unseal"}
INNER |= {"sealed_artifact", "sealed_segment", "call", *dir(tuple)}
"""Between parts of the library, or of a tuple."""
VALUES = {"Entry", "Holder", "Stored", "Traits", "Finding", "Proof", "ProgressView"}
"""Handed out, never made by users."""
BUILTIN = {"DurableDict", "DurableLog", "DurableSet", "Sink"}
"""Their methods are those of a dict, list, set or file: the example of the class stands for them."""


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


PUBLIC = dict(public())
EXAMPLES = {name: each for name, each in PUBLIC.items() if ">>>" in (getattr(each, "__doc__", None) or "")}


def names_of_examples() -> dict[str, Any]:
    names: dict[str, Any] = {"asyncio": asyncio, "datetime": datetime, "random": random, "requests": requests}
    names |= {"tenacity": tenacity, "time": time, "ThreadPoolExecutor": ThreadPoolExecutor, "__name__": "examples"}
    for face in FACES:
        module = importlib.import_module(face)
        names |= {each: getattr(module, each) for each in module.__all__}
    return names


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for package in ("pandas", "polars"):
        if name.endswith(f"to_{package}"):
            pytest.importorskip(package)
    text = EXAMPLES[name].__doc__
    examples = doctest.DocTestParser().get_examples(text)
    if any(re.search(r"\bawait |\basync (for|with) ", _source(example)) for example in examples):
        asyncio.run(_run_async(examples))
        return
    told: list[str] = []

    with resumable.checkpointed("example") as cp:
        test = doctest.DocTestParser().get_doctest(text, names_of_examples() | {"cp": cp}, name, None, 0)
        doctest.DocTestRunner().run(test, out=told.append)

    assert "".join(told) == ""


def _source(example: doctest.Example) -> str:
    return example.source if not example.source.startswith("async def") else ""


async def _run_async(examples: list[doctest.Example]) -> None:
    """Run it as ``python -m asyncio`` does, where ``await`` may stand at the top level."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    async with resumable.checkpointed("example") as cp:
        names = names_of_examples() | {"cp": cp}
        for example in examples:
            is_value = bool(example.want)
            code = compile(example.source.strip(), "example", "eval" if is_value else "exec", flags, dont_inherit=True)
            result = FunctionType(code, names)()
            if inspect.isawaitable(result):
                result = await result
            if is_value:
                assert repr(result) == example.want.strip()


def _needs_example(name: str, each: Any) -> bool:
    kind, _, method = name.removeprefix("resumable.").rpartition(".")
    owner = kind.rpartition(".")[2] if kind[:1].isupper() or "." in kind else ""
    if method.startswith("__") or not callable(each):
        return False
    if not owner or owner.islower():
        is_error = inspect.isclass(each) and issubclass(each, BaseException)
        return not is_error and method not in CONTRACT | VALUES
    holder = PUBLIC[name.rpartition(".")[0]]
    if owner in CONTRACT | VALUES | BUILTIN or issubclass(holder, BaseException):
        return False
    doc = getattr(each, "__doc__", None) or ""
    is_of_contract = any(hasattr(getattr(resumable.stores, one), method) for one in CONTRACT) and "Store" in owner
    return bool(doc) and not doc.startswith("For ") and not is_of_contract and method not in INNER


@pytest.mark.parametrize("name", [name for name, each in PUBLIC.items() if _needs_example(name, each)])
def test_what_users_touch_has_an_example(name: str) -> None:
    assert name in EXAMPLES
