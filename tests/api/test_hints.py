"""An argument that is not there, or is not what it should be: the error names the right one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import checkpointed, resumable


def job(**options: Any) -> Any:
    return checkpointed("job", **options)


def decorator(**options: Any) -> Any:
    return resumable(**options)


@pytest.mark.parametrize("function", [job, decorator])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("every", "write strategy=every(minutes=5)"),
        ("save_every", "write strategy=every(minutes=5)"),
        ("checkpoint_dir", 'write store="a/directory"'),
        ("path", 'write store="a/directory"'),
        ("retries", "write retry=tenacity.Retrying("),
        ("tqdm", "write progress=True"),
        ("fresh", "write resume=False"),
        ("length", "write total=..."),
        ("progres", "write progress=..."),
        ("stragety", "write strategy=..."),
        ("colour", "its arguments are "),
    ],
)
def test_an_unknown_option_names_the_right_one(function: Callable[..., Any], name: str, said: str) -> None:
    with pytest.raises(TypeError, match=rf"^(checkpointed|resumable)\(\) has no argument '{name}': ") as caught:
        function(**{name: 5})

    assert said in str(caught.value)


def test_the_signature_is_still_that_of_the_options() -> None:
    names = list(inspect.signature(checkpointed).parameters)

    assert names[:3] == ["operation_id", "strategy", "store"]
    assert "cp" not in inspect.signature(resumable).parameters
    assert "operation_id" in inspect.signature(resumable).parameters


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("workers", "write executor=lambda: ThreadPoolExecutor(8)"),
        ("chunksize", "write batch=..."),
        ("return_exceptions", 'write on_error="skip"'),
        ("on_eror", "write on_error=..."),
    ],
)
def test_a_map_names_the_right_option(tmp_path: Path, name: str, said: str) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        with pytest.raises(TypeError, match=r"^map\(\) has no argument") as caught:
            cp.map(abs, [1], **{name: 1})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"^remaining\(\) has no argument 'retry': its arguments are items, key"):
            cp.remaining([1], retry=3)  # type: ignore[call-arg]

    assert said in str(caught.value)


@pytest.mark.parametrize(("given", "said"), [(4, "ThreadPoolExecutor(4)"), ("four", "ThreadPoolExecutor(8)")])
def test_a_number_in_the_place_of_an_executor_says_what_to_write(given: Any, said: str, tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp, pytest.raises(TypeError) as caught:
        cp.map(abs, [1], executor=given)

    assert f"write executor=lambda: {said}, or ProcessPoolExecutor" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "write tenacity.Retrying(stop=tenacity.stop_after_attempt(5), reraise=True)"),
        (tenacity.retry(reraise=True), "write tenacity.Retrying(...) with the same arguments"),
    ],
)
def test_what_is_no_retry_policy_names_one(given: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        checkpointed("job", retry=given)

    assert said in str(caught.value)


def test_an_operation_id_in_the_place_of_a_function_says_where_it_goes() -> None:
    with pytest.raises(TypeError, match=r"write @resumable\(operation_id='files'\)"):
        resumable("files")  # type: ignore[type-var]


def test_a_parameter_for_the_checkpoint_that_is_not_told_as_one_says_how_to(tmp_path: Path) -> None:
    @resumable(store=tmp_path)
    def work(checkpoint, item):  # type: ignore[no-untyped-def]
        raise AssertionError

    with pytest.raises(TypeError, match="call it cp, or write checkpoint: Checkpoint"):
        work(3)


def test_a_state_type_without_defaults_says_what_to_do(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class State:
        count: int

    with (
        pytest.raises(TypeError, match=r"state=State cannot be made without arguments: .*'count'; give each field"),
        checkpointed("job", store=tmp_path, state=State),
    ):
        raise AssertionError
