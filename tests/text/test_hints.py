"""An argument that is not there, or is not what it should be: the error names the right one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import CheckpointManager, StoreError, checkpointed, every, resumable


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
    with (
        checkpointed("job", store=tmp_path) as cp,
        pytest.raises(TypeError, match=r"^map\(\) has no argument") as caught,
    ):
        cp.map(abs, [1], **{name: 1})  # type: ignore[arg-type]

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"colour": 3}, "remaining() has no argument 'colour': its arguments are items, key"),
        ({"max_items": 3}, "remaining() has no argument 'max_items': write limit=..."),
        ({}, "remaining() takes these by name only: name=..., fingerprint=..., limit=..., retry_failed=..."),
    ],
)
def test_a_loop_names_the_right_option_in_a_note(tmp_path: Path, given: dict[str, int], said: str) -> None:
    with pytest.raises(TypeError) as caught, checkpointed("job", store=tmp_path) as cp:
        cp.remaining([1], *(() if given else (None, "pages")), **given)  # type: ignore[arg-type]

    assert any(said in note for note in caught.value.__notes__)


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


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda: checkpointed("job", workers=4), "write cp.map(fn, items, executor="),  # type: ignore[call-overload]
        (lambda: checkpointed("job", items=[1]), "write cp.remaining(items)"),  # type: ignore[call-overload]
        (lambda: checkpointed("job", key="id"), "write cp.remaining(items, key=...)"),  # type: ignore[call-overload]
        (lambda: checkpointed("job", deadline=9), "write max_runtime=..."),  # type: ignore[call-overload]
        (lambda: checkpointed("job", stop_signals=15), r"stop_signals must be a list"),  # type: ignore[arg-type]
        (lambda: checkpointed("job", manager="m"), "manager must be a CheckpointManager"),  # type: ignore[arg-type]
        (lambda: checkpointed("job", arguments=5), "arguments must be a dict"),  # type: ignore[arg-type]
        (lambda: checkpointed("job", store="s3:/bucket"), "a URL begins with s3://"),
        (lambda: checkpointed(7), "operation_id must be a str, not int; write str(...)"),  # type: ignore[arg-type]
        (lambda: checkpointed("job")(print), "above a function: @resumable("),  # type: ignore[operator]
        (lambda: list(checkpointed("job")), "for item in cp.remaining(items)"),  # type: ignore[call-overload]
        (lambda: checkpointed("job").remaining([1]), "with checkpointed('job') as cp"),  # type: ignore[attr-defined]
        (lambda: every(5), "by name only: seconds=..., minutes="),  # type: ignore[call-arg]
        (lambda: every(minute=5), "write minutes=..."),  # type: ignore[call-arg]
        (lambda: CheckpointManager(dir="x"), "write store="),  # type: ignore[call-arg]
        (lambda: CheckpointManager(interval=5), "write save_strategy=every("),  # type: ignore[call-arg]
    ],
)
def test_a_use_that_is_none_names_the_right_one(use: Callable[[], object], said: str) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        use()

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_generator_that_has_ended_is_refused(tmp_path: Path) -> None:
    """It would give nothing, and the loop would count as done."""
    squares = (number * number for number in range(3))
    with checkpointed("job", store=tmp_path) as cp:
        assert list(cp.remaining(squares)) == [0, 1, 4]
        with pytest.raises(ValueError, match="is exhausted; call its function again"):
            cp.remaining(squares)


def test_a_file_as_the_store_says_that_it_is_none(tmp_path: Path) -> None:
    (tmp_path / "state.json").touch()

    with (
        pytest.raises(StoreError, match="is a file, but a store is a directory"),
        checkpointed("j", store=tmp_path / "state.json"),
    ):
        pass


def misuse(cp: Any, kind: str) -> None:
    match kind:
        case "called":
            cp([1])
        case "amap":
            cp.amap(abs, [1])
        case "set":
            cp["a"] = 1


@pytest.mark.parametrize(
    ("kind", "said"),
    [("called", "cp.remaining(items)"), ("amap", "`async with checkpointed(...)`"), ("set", 'cp.state["name"]')],
)
def test_what_a_checkpoint_is_not_is_said_in_a_note(kind: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught, checkpointed("job", store=tmp_path) as cp:
        misuse(cp, kind)

    assert any(said in note for note in caught.value.__notes__)


async def loop_in_async_code(store: Path) -> None:
    async with checkpointed("job", store=store) as cp:
        for _ in cp.remaining([1]):  # type: ignore[attr-defined]
            pass


async def async_loop_in_plain_block(store: Path) -> None:
    with checkpointed("job", store=store) as cp:
        async for _ in cp.remaining([1]):  # type: ignore[attr-defined]
            pass


async def plain_block_in_async_code(store: Path) -> None:
    with checkpointed("job", store=store) as cp:
        cp.state["done"] = 1
        await cp.tick()  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (loop_in_async_code, "write `async for`"),
        (async_loop_in_plain_block, "write `for`; or, in async code,"),
        (plain_block_in_async_code, "in async code write `async with checkpointed(...)`"),
    ],
)
async def test_sync_and_async_taken_for_each_other_are_said_in_a_note(
    program: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError) as caught:
        await program(tmp_path)

    assert any(said in note for note in caught.value.__notes__)
