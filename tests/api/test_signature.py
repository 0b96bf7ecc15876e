"""The parameter that takes the checkpoint, wherever it stands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest

import resumable as package
from resumable import (
    Checkpoint,
    checkpointed,
    current_checkpoint,
    resumable,
)

if TYPE_CHECKING:
    from nowhere import Unknown


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path))
    return tmp_path


def first(cp: Checkpoint, a: int, b: int = 2) -> Any:
    return cp, a, b


def middle(a: int, checkpoint: Checkpoint, b: int = 2) -> Any:
    return checkpoint, a, b


def last_after_a_default(a: int, b: int = 2, cp: Any = None) -> Any:
    return cp, a, b


def by_keyword(a: int, b: int = 2, *, where: Checkpoint) -> Any:
    return where, a, b


def by_position(a: int, b: int = 2, cp: Checkpoint | None = None, /) -> Any:
    return cp, a, b


def optional(a: int, b: int = 2, it: Optional[Checkpoint] = None) -> Any:  # noqa: UP045
    return it, a, b


def quoted(a: int, it: "Checkpoint[dict[str, Any]]", b: int = 2) -> Any:  # noqa: UP037
    return it, a, b


def annotated(a: int, it: Annotated[Checkpoint, "restored"], b: int = 2) -> Any:
    return it, a, b


def beside_one_that_cannot_be_resolved(a: int, it: Checkpoint, b: Unknown = 2) -> Any:
    return it, a, b


def unresolvable(a: int, it: package.Checkpoint[Unknown] | None, b: int = 2) -> Any:
    return it, a, b


SHAPES = [
    first,
    middle,
    last_after_a_default,
    by_keyword,
    by_position,
    optional,
    quoted,
    annotated,
    beside_one_that_cannot_be_resolved,
    unresolvable,
]


@pytest.mark.parametrize("function", SHAPES)
def test_the_checkpoint_may_stand_anywhere(function: Callable[..., Any]) -> None:
    decorated = resumable(operation_id="{a}")(function)

    for found, a, b in (decorated(1), decorated(1, 2)):
        assert isinstance(found, Checkpoint)
        assert (a, b) == (1, 2)
    assert list(inspect.signature(decorated).parameters) == ["a", "b"]


def test_variable_arguments_go_around_it() -> None:
    @resumable(operation_id="x")
    def collect(a: int, cp: Checkpoint, *rest: int, **more: int) -> Any:
        return a, rest, more

    assert collect(1, 2, 3, k=4) == (1, (2, 3), {"k": 4})


def test_an_annotation_goes_before_the_name() -> None:
    @resumable(operation_id="x")
    def both(cp: str, mine: Checkpoint) -> Any:
        return cp, mine.operation_id

    assert both("a") == ("a", "x")


def test_a_function_without_a_parameter_for_it_asks() -> None:
    @resumable(operation_id="crawl_{a}")
    def ask(a: int) -> str:
        return str(current_checkpoint().operation_id)

    assert ask(7) == "crawl_7"


def test_two_checkpoints_are_one_too_many() -> None:
    def two(a: Checkpoint, b: Checkpoint) -> None: ...

    with pytest.raises(TypeError, match="several checkpoint parameters"):
        resumable(two)


@pytest.mark.parametrize("given", ["keyword", "position"])
def test_whoever_gives_the_checkpoint_is_told(given: str) -> None:
    def fetch(cp: Checkpoint, a: int, b: int = 2, **more: Any) -> None: ...

    decorated: Any = resumable(operation_id="x")(fetch)
    with checkpointed("other") as mine, pytest.raises(TypeError, match="@resumable passes the checkpoint 'cp'"):
        decorated(mine, 1) if given == "position" else decorated(1, cp=mine)


def test_arguments_that_do_not_fit_are_refused_before_anything_is_opened(directory: Path) -> None:
    decorated: Any = resumable(operation_id="x")(first)

    with pytest.raises(TypeError, match=r"first\(\): missing a required argument: 'a'"):
        decorated()
    assert list(directory.iterdir()) == []
