"""Where a loop stands in the program: what counts for it, and what does not."""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from resumable._loops.places import place, program
from resumable._runtime.interpreter import stack

OTHER_PYTHONS = ("3.11", "3.12", "3.13")


class Places:
    """Stands in for a checkpoint: notes the place of each loop that it makes."""

    def __init__(self, around: tuple[int, int] | None = None) -> None:
        self.seen: list[str] = []
        self.outside = stack()
        self.around = around

    def remaining(self, items: Any = (), **_: object) -> Any:
        self.seen.append(place.place_of(sys._getframe(1), self.outside, self.around))
        return items


def places_of(source: str, *arguments: object, file: str = "job.py") -> list[str]:
    """The places of the loops that the function ``work`` of *source* makes."""
    scope: dict[str, Any] = {"__name__": "job"}
    exec(compile(source, file, "exec"), scope)
    cp = Places()
    scope["work"](cp, *arguments)
    return cp.seen


BEFORE = """
def work(cp, urls):
    for url in cp.remaining(urls): pass
"""
SAME = {
    "lines before it": "def other(): pass\n\n\ndef work(cp, urls):\n    x = 1\n    for url in cp.remaining(urls): pass",
    "another layout": "def work(cp, urls):\n    for u in cp.remaining(  # all\n        urls,\n    ):\n        print",
    "another loop before it": "def work(cp, urls):\n    list(cp.remaining([]))\n    list(cp.remaining(urls))",
    "deeper in the function": "def work(cp, urls):\n    if urls:\n        with open('/dev/null'):\n"
    "            [1 for _ in cp.remaining(urls)]",
    "after an await of its own kind": "def work(cp, urls):\n    try:\n        pass\n    finally:\n"
    "        list(cp.remaining(urls))",
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME)
def test_edits_elsewhere_and_layout_change_no_place(source: str) -> None:
    assert places_of(source, ["a"], file="another.py")[-1] == places_of(BEFORE, ["a"])[0]


def test_the_names_and_the_function_are_told_to_people() -> None:
    (where,) = places_of(BEFORE, [])

    assert place.last_call(where) == where.rpartition(" > ")[2] == "work:cp remaining urls#1/1"
    assert place.shown(where) == "`cp remaining urls` in work"


def test_calls_of_one_text_are_counted() -> None:
    source = "def work(cp, urls):\n    list(cp.remaining(urls)), list(cp.remaining(urls)), list(cp.remaining(urls[1:]))"

    assert [one.rpartition(" > ")[2].rpartition(":")[2] for one in places_of(source, [])] == [
        "cp remaining urls#1/2",
        "cp remaining urls#2/2",
        "1 cp remaining urls#1/1",
    ]


def test_a_call_in_finally_is_one_although_it_is_compiled_twice() -> None:
    source = """
def work(cp, urls):
    for fails in (False, True):
        try:
            try:
                if fails:
                    raise OSError
            finally:
                list(cp.remaining(urls))
        except OSError:
            pass
"""
    first, second = places_of(source, [])

    assert first == second
    assert place.is_only_one(first)


def test_a_helper_that_is_called_twice_has_two_places() -> None:
    source = """
def helper(cp, what):
    list(cp.remaining(what))

def work(cp, urls):
    helper(cp, urls)
    helper(cp, urls[:1])
"""
    first, second = places_of(source, [])

    assert first != second
    assert place.last_call(first) == place.last_call(second)


def test_what_calls_on_behalf_of_others_does_not_count() -> None:
    def helper(cp: Places) -> None:
        cp.remaining()

    cp = Places()
    with contextlib.ExitStack() as stack:
        stack.callback(helper, cp)

    assert "__exit__" not in cp.seen[0]
    assert cp.seen[0].count(" > ") == 1


def test_a_place_begins_at_the_loop_around() -> None:
    def inner(cp: Places) -> None:
        cp.remaining()

    frame = sys._getframe()
    cp = Places(place.address(frame))
    cp.outside = {}
    inner(cp)

    assert cp.seen[0].count(" > ") == 1


def test_deep_recursion_ends_somewhere() -> None:
    def dive(cp: Places, depth: int) -> None:
        if depth:
            dive(cp, depth - 1)
        else:
            cp.remaining()

    cp = Places()
    dive(cp, 100)
    dive(cp, 200)

    assert cp.seen[0] == cp.seen[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: exec("cp.remaining()", {"cp": (cp := Places())}) or cp.seen,
        lambda: (lambda cp: (cp.remaining(), cp.seen)[1])(Places()),
    ],
    ids=["exec", "lambda"],
)
def test_code_without_a_source_has_places(make: Callable[[], list[str]]) -> None:
    assert "cp remaining" in make()[0]


def test_without_columns_calls_on_one_line_share_a_place() -> None:
    program = PROGRAM.replace("LINES", "list(cp.remaining(a)); list(cp.remaining(a))")
    ended = subprocess.run(
        [sys.executable, "-X", "no_debug_ranges", "-c", program], capture_output=True, text=True, check=True
    )

    assert len(ended.stdout.split("\n")) == 3


# -- other processes and other Pythons ---------------------------------------------------------------------------------

PROGRAM = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("place", {place.__file__!r})
place = importlib.util.module_from_spec(spec)
sys.modules["place"] = place
spec.loader.exec_module(place)


class Checkpoint:
    def remaining(self, items=(), *_, **__):
        print(place.place_of(sys._getframe(1), {{}}))
        return items
    def map(self, fn, items):
        return self.remaining(items)


def helper(cp, what, *more):
    list(cp.remaining(what))

class Job:
    pages = []
    def run(self, cp, a, b):
        LINES

Job().run(Checkpoint(), [[1]], {{"x": 1}})
"""
LINES = """
        list(cp.remaining(a))
        list(cp.remaining(sorted(b), key="x", name=None))
        list(cp.remaining([one for one in a if str(one) not in {"p", "q", "r"}], key=lambda x: x))
        list(cp.map(str, b.items()))
        list(cp.remaining(b["x"] if not b else self.pages, fingerprint=None))
        list(cp.remaining(range(3, 1_000_000)[:0]))
        list(cp.remaining((i, -i) for i in range(3)))
        helper(cp, a, *b)
        for x in cp.remaining(a[0][:1]):
            for y in cp.remaining((f"{x} {b}",)):
                helper(cp, y.upper(), x + 1) if x else None
        [1 for z in cp.remaining(a)]
"""


def python(version: str) -> str | None:
    """An interpreter of that version, if there is one that runs."""
    found = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}*/bin/python")]
    for path in filter(None, found):
        with contextlib.suppress(OSError):
            if subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0:
                return str(path)
    return None


def printed(executable: str, seed: int = 0) -> str:
    program = PROGRAM.replace("LINES", LINES)
    ended = subprocess.run(
        [executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": str(seed), "RESUMABLE_INDEX": "off"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_places_are_equal_in_all_processes() -> None:
    assert len({printed(sys.executable, seed) for seed in (1, 2, 3)}) == 1


@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_places_are_equal_in_other_versions_of_python(version: str) -> None:
    executable = python(version)
    if executable is None or version == "{}.{}".format(*sys.version_info):
        pytest.skip("that Python is not here, or runs this test")

    assert printed(executable).splitlines() == printed(sys.executable).splitlines()


# -- after an edit ----------------------------------------------------------------------------------------------------


def here(cp: Places) -> None:
    cp.remaining()


class Holder:
    @staticmethod
    def method(cp: Places) -> None:
        cp.remaining()


@functools.lru_cache
def decorated(cp: Places) -> None:
    cp.remaining()


@pytest.mark.parametrize("work", [here, Holder.method, decorated], ids=lambda work: work.__qualname__)
def test_a_place_that_still_stands_is_found(work: Callable[[Places], None]) -> None:
    cp = Places()
    work(cp)
    frame = sys._getframe()

    assert program.is_in_program(cp.seen[0], frame, {})
    assert not program.is_in_program(cp.seen[0].replace("cp", "other"), frame, {})
    assert not program.is_in_program(cp.seen[0].replace(work.__qualname__, "nowhere"), frame, {})


def test_inner_functions_are_found_by_their_name() -> None:
    def inner(cp: Places) -> None:
        cp.remaining()

    cp = Places()
    inner(cp)

    assert program.is_in_program(cp.seen[0], sys._getframe(), {})
    assert list(program.codes_of("nowhere.<locals>.inner", sys._getframe())) == []


def test_the_loops_of_a_function_are_listed() -> None:
    code = compile("for x in cp.remaining(a): f(x, y=cp.map(f, b))", "job", "exec")

    assert place.calls_in(code).loops == {
        "<module>:a cp remaining#1/1",
        "<module>:b cp f map#1/1",
    }


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("f:cp remaining urls#1/1", "f:cp remaining sorted urls#1/1", 2 / 3),
        ("f:cp remaining urls#1/1", "f:cp remaining users#1/1", 1 / 3),
        ("f:cp remaining urls#1/1", "f:cp map urls#1/1", 1),
        ("f:cp remaining urls#1/1", "g:cp remaining urls#1/1", 1),
        ("main:f x#1/1 > f:cp remaining urls#1/1", "f:cp remaining urls#2/2", 1),
        ("main:f x#1/1 > f:cp remaining urls#1/1", "f:cp remaining urls x#1/1", 0),
    ],
)
def test_how_alike_two_calls_are(one: str, other: str, expected: float) -> None:
    assert place.likeness(one, other) == pytest.approx(expected)


# -- cost -------------------------------------------------------------------------------------------------------------


def test_a_place_is_known_in_a_few_microseconds() -> None:
    cp = Places()
    frame = sys._getframe()

    def deep(depth: int) -> float:
        if depth:
            return deep(depth - 1)
        frame, best = sys._getframe(), 1.0
        for _ in range(20):
            began = time.thread_time()
            for _ in range(200):
                place.place_of(frame, cp.outside)
            best = min(best, (time.thread_time() - began) / 200)
        return best

    assert place.place_of(frame, cp.outside)
    assert deep(4) < 50e-6


def test_the_bodies_of_equal_lines_are_told_apart() -> None:
    def plain(cp: Any, a: Any, b: Any) -> None:
        for _ in cp.remaining(a):
            a()
        for _ in enumerate(cp.remaining(a)):
            b()
        for _ in cp.remaining(b):
            a()
        for _ in cp.remaining(a):
            for _ in cp.remaining(b):
                a()
            b()
        todo = cp.remaining(a)
        for _ in todo:
            a()

    async def asynchronous(cp: Any, a: Any, b: Any) -> None:
        async for _ in cp.remaining(a):
            async for _ in cp.remaining(b):
                a()
            b(1)
        async for _ in cp.remaining(a):
            b(1)
        a(2)

    def bodies_in(code: CodeType) -> dict[str, str]:
        return {call.rpartition(":")[2]: body for call, body in place.calls_in(code).bodies.items()}

    bodies = bodies_in(plain.__code__)
    assert bodies["a cp remaining#1/4"] == bodies["b cp remaining#1/2"] != bodies["a cp remaining#2/4"]
    assert bodies["a cp remaining#3/4"] not in {bodies["a cp remaining#1/4"], bodies["a cp remaining#2/4"], ""}
    assert bodies["a cp remaining#4/4"] == ""
    bodies = bodies_in(asynchronous.__code__)
    assert bodies["a cp remaining#1/2"] not in {bodies["a cp remaining#2/2"], ""}
    assert len(bodies) == 2


def test_what_was_read_of_a_function_is_kept_as_long_as_that_lives() -> None:
    read: list[str] = []

    @place.by_code
    def length(code: types.CodeType, more: int) -> int:
        read.append(code.co_name)
        return len(code.co_code) + more

    first, second = (compile("1", "file", "exec") for _ in range(2))
    assert first == second

    assert length(first, 1) == length(first, 1) == length(second, 1) == length(second, 2) - 1
    assert len(read) == 3
