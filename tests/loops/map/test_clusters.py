"""Dask and Ray behind the interface of an executor: crashes are distinguished from errors of a call."""

from __future__ import annotations

import sys
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import ModuleType
from typing import Any

import pytest

from resumable._loops.map.clusters import as_executor, is_crash, is_ray, of_the_call


def error_of(module: str, name: str) -> BaseException:
    """An error whose class has that name, as the package would raise it."""
    kind = type(name, (Exception,), {"__module__": module})
    error: BaseException = kind("it went wrong")
    return error


@pytest.mark.parametrize(
    ("error", "crashed"),
    [
        pytest.param(BrokenProcessPool(), True, id="a pool"),
        pytest.param(BrokenExecutor(), True, id="an executor"),
        pytest.param(error_of("distributed.scheduler", "KilledWorker"), True, id="Dask"),
        pytest.param(error_of("ray.exceptions", "WorkerCrashedError"), True, id="Ray"),
        pytest.param(error_of("ray.exceptions", "RayTaskError"), False, id="an error of a call on Ray"),
        pytest.param(error_of("users.module", "WorkerCrashedError"), False, id="the user's own error of that name"),
        pytest.param(ValueError("bad row"), False, id="an error of a call"),
        pytest.param(None, False, id="none"),
    ],
)
def test_a_crash_is_no_error_of_the_call(error: BaseException | None, crashed: bool) -> None:
    assert is_crash(error) is crashed


def test_the_error_that_ray_wraps_is_the_calls_own() -> None:
    wrapped: Any = error_of("ray.exceptions", "RayTaskError(ValueError)".partition("(")[0])
    wrapped.cause = ValueError("bad row")

    found = of_the_call(wrapped)

    assert found is wrapped.cause
    assert found.__cause__ is wrapped
    assert of_the_call(found) is found


def test_other_executors_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert as_executor(pool) is pool
    assert not is_ray(None)
    assert not is_ray(sys)
    ray = ModuleType("ray")
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert is_ray(ray)
