"""Random programs with loops in loops, stopped, edited and resumed: no item is lost, and without edits none done twice.

An oracle knows each item by numbers that the library does not see. All inputs are equal, so that no fingerprint helps.
``python -m tests.loops.test_random_programs 2000`` tries more of them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from resumable import InputChangedError, checkpointed, every
from resumable.testing import FaultyStore, MemoryStore


class Kill(BaseException):
    """Ends a run."""


class Program:
    """A random program as a tree; ``source`` writes it down. Places change between runs, the numbers never do."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.uids = itertools.count(1)
        self.helpers: list[list[Any]] = []
        self.main = self._body(depth=0, is_top=True)
        self.noise: dict[int, str] = {}
        self.order, self.file = 0, "job.py"
        self.gone: set[int] = set()
        self.late: set[int] = set()

    def _body(self, depth: int, *, is_top: bool = False) -> list[Any]:
        return [self._node(depth, is_top) for _ in range(self.chance.randint(1, 4 if is_top else 2))]

    def _node(self, depth: int, is_top: bool) -> Any:
        kinds = ["loop"] * 4
        kinds += ["while", "helper", "again", "try"] if depth < 2 else []
        kinds += ["if"] * 2 if is_top else []
        kind = self.chance.choice(kinds)
        if kind == "loop":
            return self.loop(depth)
        if kind == "if":
            return ["if", next(self.uids), self._body(depth, is_top=is_top)]
        if kind == "while":
            return ["while", next(self.uids), self.chance.randint(2, 11), self._body(depth + 1)]
        if kind == "again" and self.helpers:
            return ["call", next(self.uids), self.chance.randrange(len(self.helpers))]
        if kind == "try":
            return ["try", next(self.uids), [self.loop(depth, raises=True)]]
        body = self._body(max(depth + 1, 2))  # a helper calls no helper: no endless recursion
        self.helpers.append(body)
        return ["call", next(self.uids), len(self.helpers) - 1]

    def loop(self, depth: int, *, raises: bool = False) -> Any:
        chance, uid = self.chance, next(self.uids)
        text = f"xs{uid}" if chance.random() < 0.75 else "same"
        leave = chance.choice([None, None, None, "break"]) if not raises else "raise Boom"
        body = self._body(depth + 1) if depth < 2 and chance.random() < 0.5 else []
        return ["loop", uid, text, leave, chance.randint(0, 3), body]

    def bodies(self, nodes: list[Any] | None = None, *, is_inside: bool = False) -> Iterator[tuple[list[Any], bool]]:
        """Each list of nodes, and whether it is within a loop or a helper."""
        if nodes is None:
            yield from self.bodies(self.main)
            for body in self.helpers:
                yield from self.bodies(body, is_inside=True)
            return
        yield nodes, is_inside
        for node in nodes:
            if isinstance(node[-1], list):
                yield from self.bodies(node[-1], is_inside=is_inside or node[0] in ("loop", "while", "try"))

    def edit(self) -> None:
        chance = self.chance
        body, is_inside = chance.choice(list(self.bodies()))
        kind = chance.choice(["noise", "order", "file", "add", "add", "remove", "line", "rename"])
        loops = [node for node in body if node[0] == "loop" and not node[-1]]
        if kind == "noise":
            self.noise[chance.randrange(40)] = chance.choice(["# a remark", "unused = 1", "print", "list(range(3))"])
        elif kind == "order":
            self.order += 1
        elif kind == "file":
            self.file = f"job{chance.randrange(9)}.py"
        elif kind == "add":
            new = self.loop(2)
            self.late |= {new[1]} if is_inside else set()
            body.insert(chance.randint(0, len(body)), new)
        elif kind == "remove" and loops and len(body) > 1:
            body.remove(loops[0])
            self.gone.add(loops[0][1])
        elif kind == "line" and loops:
            loops[-1][2] = f"list({loops[-1][2]})"
        elif kind == "rename" and loops:
            loops[-1][2] = f"ys{loops[-1][1]}"

    def source(self) -> str:
        self.lines = itertools.count()
        functions = [self._function("main", self.main)]
        functions += [self._function(f"helper{number}", body) for number, body in enumerate(self.helpers)]
        for _ in range(self.order % len(functions)):
            functions.append(functions.pop(0))
        return "\n\n".join(functions)

    def _function(self, name: str, body: list[Any]) -> str:
        return "\n".join([f"def {name}(cp, at):", *self._text(body, "    ")])

    def _text(self, nodes: list[Any], pad: str) -> Iterator[str]:
        for node in nodes:
            if (line := next(self.lines)) in self.noise:
                yield pad + self.noise[line]
            uid, deeper = node[1], pad + "    "
            if node[0] == "if":
                yield f"{pad}if flag({uid}):"
                yield from self._text(node[2], deeper)
            elif node[0] == "while":
                yield f"{pad}for _{uid} in range({node[2]}):"
                yield from self._text(node[3], deeper)
            elif node[0] == "call":
                yield f"{pad}helper{node[2]}(cp, (*at, {uid}))"
            elif node[0] == "try":
                yield f"{pad}try:"
                yield from self._text(node[2], deeper)
                yield f"{pad}except Boom: pass"
            else:
                _, _, text, leave, when, body = node
                yield f"{pad}before{uid}, n{uid} = at, nth(at, {uid})"
                yield f"{pad}for i{uid} in cp.remaining({text}):"
                yield f"{deeper}at = (*before{uid}, ({uid}, n{uid}, i{uid}))"
                if leave:
                    yield f"{deeper}if i{uid} == {when}: at = before{uid}; {leave}"
                yield from self._text(body, deeper)
                yield f"{deeper}did(before{uid}, {uid}, n{uid}, i{uid})"
                yield f"{deeper}at = before{uid}"


class Inputs(dict[str, Any]):
    """Names of a program; each input is the same."""

    def __missing__(self, name: str) -> Any:
        if name.startswith(("xs", "ys", "same")):
            return range(4)
        raise KeyError(name)


def run_once(program: Program, store: MemoryStore, kill_at: int, flags: random.Random | None, every_: int) -> list[Any]:
    """One run: what was done. With *every_* it is killed, and saved so often before; without it is interrupted."""
    done: list[Any] = []
    faulty = FaultyStore(store)
    counts: Counter[Any] = Counter()

    def did(*what: Any) -> None:
        if len(done) == kill_at:
            if every_:
                faulty.fail_next("write", times=9)
            raise Kill
        done.append(what)

    def nth(at: Any, uid: int) -> int:
        counts[at, uid] += 1
        return counts[at, uid]

    scope = Inputs(did=did, nth=nth, Boom=type("Boom", (Exception,), {}), range=range, list=list, print=print)
    scope["flag"] = lambda uid: flags is None or flags.random() < 0.5
    scope["__name__"] = "job"
    exec(compile(program.source(), program.file, "exec"), scope)
    strategy = every(items=every_) if every_ else every(hours=1000)
    with contextlib.suppress(Kill), checkpointed("job", strategy, store=faulty, auto_cleanup=False) as cp:
        scope["main"](cp, ())
    return done


def outcome(seed: int, *, has_edits: bool) -> tuple[str, int]:
    """What became of one program, and how many items were done twice."""
    program, chance = Program(seed), random.Random(-seed - 1)
    every_ = chance.choice([0, 0, 1, 3])
    done: list[Any] = []
    store = MemoryStore()
    try:
        for _ in range(chance.randint(1, 5)):
            done += run_once(program, store, chance.randint(0, 25), chance, every_)
            for _ in range(chance.randint(1, 2) if has_edits else 0):
                program.edit()
        done += run_once(program, store, -1, None, every_)
    except InputChangedError:
        return "refused", 0
    whole = set(run_once(program, MemoryStore(), -1, None, 0))
    lost = {one for one in whole if one[1] not in program.gone | program.late} - set(done)
    return ("lost" if lost else "good"), (0 if every_ else len(done) - len(set(done)))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(3))
def test_without_edits_each_item_is_done_once(block: int) -> None:
    results = [outcome(seed, has_edits=False) for seed in range(20 * block, 20 * block + 20)]

    assert Counter(results) == {("good", 0): 20}


@pytest.mark.slow
@pytest.mark.parametrize("block", range(3))
def test_after_edits_each_item_is_done_or_the_run_is_refused(block: int) -> None:
    results = Counter(outcome(seed, has_edits=True)[0] for seed in range(20 * block, 20 * block + 20))

    assert results["lost"] == 0
    assert results["good"] > results["refused"]


@pytest.mark.parametrize("seed", [817, 1268, 1402])
def test_after_edits_no_loop_takes_the_place_of_another(seed: int) -> None:
    assert outcome(seed, has_edits=True)[0] in ("good", "refused")


def main(count: int) -> None:
    logging.disable()
    for has_edits in (False, True):
        results = [(seed, *outcome(seed, has_edits=has_edits)) for seed in range(count)]
        tally = Counter(result for _, result, _ in results)
        twice = sum(number for _, _, number in results)
        print(f"edits: {has_edits}, {dict(tally)}, done twice: {twice}")
        print("  lost:", [seed for seed, result, _ in results if result == "lost"][:20])
        print("  twice:", [seed for seed, _, number in results if number][:20])


if __name__ == "__main__":
    main(int(sys.argv[1]))
