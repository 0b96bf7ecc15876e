"""A loop is found in the program's text by the frame that asks for its items."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from resumable._loops.advice.written import frames_of_items, gives_on, loop_at, numbering_around


class Asked:
    """An iterable that notes who asks for its items."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.numbered: list[str] = []
        self.gives: list[bool] = []

    def __iter__(self) -> Iterator[int]:
        self._note(sys._getframe(1))
        return iter(range(2))

    def _note(self, frame: FrameType) -> None:
        for here in frames_of_items(frame):
            written = loop_at(here)
            if written is None:
                continue
            loop = written.loop
            self.heads.append(ast.unparse(loop.test if isinstance(loop, ast.While) else loop.iter))
            self.numbered.append(numbering_around(written))
            self.gives.append(gives_on(written))


class Late(Asked):
    """Is asked when its first item is."""

    def __iter__(self) -> Iterator[int]:
        def steps() -> Iterator[int]:
            here = sys._getframe(1)
            self._note(here)
            yield from range(2)

        return steps()


def plainly(loop: Any) -> None:
    for _ in loop:
        pass


def numbered(loop: Any) -> None:
    for _ in enumerate(loop):
        pass


def by_a_variable(loop: Any) -> None:
    pairs = zip(loop, "ab", strict=True)
    for _ in pairs:
        pass


def by_next(loop: Any) -> None:
    it = enumerate(loop)
    while True:
        try:
            next(it)
        except StopIteration:
            break


@pytest.mark.parametrize(
    ("job", "head", "name"),
    [
        (plainly, "loop", ""),
        (numbered, "enumerate(loop)", "enumerate"),
        (by_a_variable, "pairs", ""),
        (by_next, "True", ""),
    ],
)
def test_the_loop_that_asks(job: Any, head: str, name: str) -> None:
    loop = Asked()
    job(loop)

    assert loop.heads == [head]
    assert loop.numbered == [name]


def test_a_generator_of_the_program_gives_items_on_to_its_caller() -> None:
    def doubled(loop: Any) -> Iterator[int]:
        for item in loop:
            yield item * 2

    loop = Late()
    for _ in enumerate(doubled(loop)):
        pass

    assert loop.heads == ["loop", "enumerate(doubled(loop))"]
    assert loop.gives == [True, False]


def test_a_program_without_text_is_not_understood() -> None:
    loop = Asked()
    exec("for _ in loop:\n    pass", {"loop": loop})

    assert loop.heads == []


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("tqdm(enumerate(cp.remaining(a)))", "enumerate"),
        ("enumerate(tqdm(cp.remaining(a)))", "enumerate"),
        ("cp.remaining(enumerate(a))", ""),
        ("tqdm(cp.map(f, zip(a, b)))", ""),
        ("itertools.accumulate(cp.remaining(a))", "accumulate"),
    ],
)
def test_what_counts_from_its_own_beginning(head: str, name: str) -> None:
    from resumable._loops.advice.written import Written

    loop = ast.parse(f"for x in {head}: pass").body[0]
    assert isinstance(loop, ast.For)
    assert numbering_around(Written(loop, loop)) == name
