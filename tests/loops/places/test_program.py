"""Functions found by name: those in the program, and those that a block may call."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from resumable._loops.places import place, program

REACHED = """
import functools, json, steps

class Job:
    def run(self, cp): return cp.remaining(self.a)
    @property
    def more(self): return self.cp.remaining(self.b)
    @classmethod
    def make(cls, cp): return cp.remaining(cls.c)

def wrapped(function):
    @functools.wraps(function)
    def inner(*arguments): return function(*arguments)
    return inner

@wrapped
def decorated(cp): return cp.remaining(d)

def listed(cp): return cp.remaining(e)
ALL = [listed]

def nobody(cp): return cp.remaining(z)

def work(frame_of, cp):
    def local(): return cp.remaining(f)
    frame_of()
    if cp:
        Job(), decorated(cp), [one(cp) for one in ALL], steps.fetch(cp), json.dumps(cp)
"""


def test_the_functions_of_a_block_are_found_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = types.ModuleType("steps")
    exec("def fetch(cp): return cp.remaining(g)\ndef idle(cp): return cp.remaining(y)", vars(steps))
    monkeypatch.setitem(sys.modules, "steps", steps)
    scope: dict[str, Any] = {"__name__": "job"}
    exec(REACHED, scope)
    frames: list[Any] = []

    scope["work"](lambda: frames.append(sys._getframe(1)), None)
    functions = program.functions_of_block(frames[0], {place.address(frames[0].f_back): 0}, ["nobody"])

    found = {name for one in functions for call in one.loops for name in place.names_of(call)}
    assert found & set("abcdefgyz") == set("abcdefgz")
    assert not any("dumps" in call.partition(":")[0] for one in functions for call in one.calls)


class Lazy:
    """Stands in a module for what is imported, or computed, at the first use."""

    def __getattr__(self, name: str) -> Any:
        raise ModuleNotFoundError(f"no module for {name}")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("computed")


class Holder:
    lazy = Lazy()


def test_what_is_lazy_in_a_module_is_left_alone() -> None:
    scope: dict[str, Any] = {"__name__": "job", "lazy": Lazy(), "holder": Holder, "many": [Lazy()], "by": {1: Lazy()}}
    exec(REACHED.replace("import functools, json, steps", "import functools, json").replace("steps", "lazy"), scope)
    frames: list[Any] = []

    scope["work"](lambda: frames.append(sys._getframe(1)), None)
    functions = program.functions_of_block(frames[0], {place.address(frames[0].f_back): 0}, ["lazy"])

    assert {name for one in functions for call in one.loops for name in place.names_of(call)} >= set("abcdef")
