"""Proves that a user's job is resumable: runs it, stops it everywhere, runs it again, and compares."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ._findings import Finding, Proof, ProofFailed, diff, judge_effects
from ._probe import Place
from ._run import Effects, Outcome, Stop, Trial, fresh_directory, takes_directory

_BETWEEN_ITEMS = frozenset({"tick", "ticked"})


def prove_resumable(
    job: Callable[..., Any],
    *,
    effects: Effects = None,
    reset: Callable[[], object] | None = None,
    result: Callable[[], Any] | None = None,
    exactly_once: bool = False,
    hard: bool = False,
    mid_item_errors: bool = True,
    save_every: tuple[int, ...] = (1, 3),
    max_cases: int | None = 500,
    seed: int = 0,
) -> Proof:
    """Check that *job* has one result, however often it is stopped and run again.

    The job runs twice without a stop. Then it is stopped at every tick, every save and every line between them, and run
    again each time: by a kill, which saves nothing; by an interrupt between two items and by an ordinary error at a
    line, which save. The result and the effects must equal those of the first run. Each case has a fresh directory for
    checkpoints, whatever store and strategy the job names. Code after the job's block is not stopped: the operation is
    done by then, and another run begins anew.

    Example:
        >>> def job():
        ...     with checkpointed("doubles") as cp:
        ...         doubles = cp.mapping("doubles")
        ...         for number in cp.remaining(range(3)):
        ...             doubles[str(number)] = 2 * number
        ...         return dict(doubles)
        >>> proof = prove_resumable(job, max_cases=20)
        >>> proof.findings
        []

    Args:
        job: A function that runs the loop; may be async. It gets no arguments, or, if it takes one, a fresh directory
            for its files. The content of these files counts as effects.
        effects: What the job does to the world: a list that it appends to, or a function that returns it. In a list, an
            effect after the last save may repeat after a kill, and an effect of the unfinished item after an error.
            Anything else must be equal.
        reset: Undoes before each case what the job changed. A list given as *effects* is cleared in any case.
        result: Reads the result after the job; by default the result is what the job returns.
        exactly_once: Whether no effect may repeat, not even one after the last save.
        hard: Run the job in child processes, and kill them with SIGKILL. Needs ``os.fork``; results must pickle.
        mid_item_errors: Whether to raise an ordinary error at every line, too. A job that catches it is not judged.
        save_every: The numbers of items between two saves to try.
        max_cases: The most stops, chosen by *seed*; None for all.

    Raises:
        ProofFailed: The job is not resumable. The text says where it was stopped, what differs, and the usual reason.
        RuntimeError: The job fails even when nothing stops it; the text has its error.
    """
    __tracebackhide__ = True  # for pytest: the text says everything
    if hard and not hasattr(os, "fork"):
        raise RuntimeError("hard=True needs os.fork, which this system does not have")
    prover = _Prover(job, effects, reset, result, exactly_once, hard)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a kill does not close the files of the job
        proof = prover.prove(save_every, max_cases, mid_item_errors, seed)
    if proof.findings:
        raise ProofFailed(proof)
    return proof


@dataclass(frozen=True, slots=True)
class _Case:
    how: Literal["kill", "interrupt", "fail"]
    save_every: int
    number: int


@dataclass(slots=True)
class _Prover:
    job: Callable[..., Any]
    effects: Effects
    reset: Callable[[], object] | None
    result: Callable[[], Any] | None
    exactly_once: bool
    hard: bool

    def prove(self, save_every: tuple[int, ...], most: int | None, mid_item: bool, seed: int) -> Proof:
        runs = {step: self._uninterrupted(step) for step in save_every}
        first = runs[save_every[0]]
        again = self._uninterrupted(save_every[0])
        cases = [case for step, run in runs.items() for case in _cases(step, run.places, mid_item)]
        chosen = _chosen(cases, most, random.Random(seed))
        items = max((place.items for place in first.places), default=0)
        saves = max((place.saves for place in first.places), default=0)
        proof = Proof(len(chosen), len(cases), items, saves, seed)
        if not first.places:
            raise ValueError("the job opened no checkpoint, so there is nothing to prove; check that it runs the loop")
        proof.findings.extend(self._differences(first, again))
        if not proof.findings:  # otherwise nothing can be compared
            for case in chosen:
                proof.findings.extend(self._try(case, runs[case.save_every]))
            proof.findings.extend(self._killed_at_each_save(first, len(first.places)))
        return proof

    @contextmanager
    def _trial(self, save_every: int) -> Iterator[Trial]:
        if isinstance(self.effects, MutableSequence):
            self.effects.clear()
        if self.reset is not None:
            self.reset()
        with fresh_directory() as directory:
            yield Trial(self.job, directory, self.result, self.effects, save_every, is_hard=self.hard)

    def _uninterrupted(self, save_every: int) -> Outcome:
        with self._trial(save_every) as trial:
            outcome = trial.run()
        if outcome.error:
            raise RuntimeError(f"the job fails even when nothing stops it: {outcome.error}")
        return outcome

    def _differences(self, first: Outcome, again: Outcome) -> Iterator[Finding]:
        kind, how = "differs between two runs", "neither was stopped"
        if first.result != again.result:
            yield Finding(kind, f"the result; {how}", details=diff(first.result, again.result))
        for _, details in judge_effects(first.effects, again.effects, (), exactly_once=True):
            yield Finding(kind, f"the effects; {how}", details=details)

    def _try(self, case: _Case, expected: Outcome) -> Iterator[Finding]:
        count = iter(range(case.number + 1))
        stop = Stop(case.how, lambda place: next(count) == case.number)
        with self._trial(case.save_every) as trial:
            stopped = trial.run(stop)
            if case.how == "fail" and stopped.has_ended:
                return
            ended = trial.run() if stopped.stopped is not None else stopped
        yield from self._judge(f"{case.how}ed", expected, stopped, ended)

    def _judge(self, how: str, expected: Outcome, stopped: Outcome, ended: Outcome) -> Iterator[Finding]:
        place, openings = stopped.stopped, tuple(ended.openings)
        if ended.error:
            yield Finding("run again failed", how, place, ended.error, openings)
            return
        if expected.result != ended.result:
            yield Finding("result diverged", how, place, diff(expected.result, ended.result), openings)
        since = min(stopped.saved_effects, stopped.item_effects) if how == "failed" else stopped.saved_effects
        for kind, details in self._wrong_effects(expected, stopped, ended, since):
            yield Finding(kind, how, place, details, openings)

    def _wrong_effects(
        self, expected: Outcome, stopped: Outcome, ended: Outcome, since: int
    ) -> Iterator[tuple[str, str]]:
        want, before, have = expected.effects, stopped.effects, ended.effects
        if takes_directory(self.job):
            yield from judge_effects(want[1], have[1], (), exactly_once=True)
            want, before, have = want[0], before[0], have[0]
        allowed = before[since:] if isinstance(before, list | tuple) else ()
        yield from judge_effects(want, have, allowed, exactly_once=self.exactly_once)

    def _killed_at_each_save(self, expected: Outcome, most: int) -> Iterator[Finding]:
        """Kill each run at its first save, until one reaches its end."""
        last = Outcome()
        with self._trial(1) as trial:
            for _ in range(most):
                last = trial.run(Stop("kill", lambda place: place.kind == "saved"))
                if last.stopped is None:
                    break
        how = "killed at the first save of each run"
        if last.stopped is not None:
            yield Finding("no progress", f"{how}, {most} times in a row, at last", last.stopped)
        elif last.error:
            yield Finding("run again failed", how, details=last.error)
        elif expected.result != last.result:
            yield Finding("result diverged", how, details=diff(expected.result, last.result))


def _cases(save_every: int, places: list[Place], mid_item: bool) -> Iterator[_Case]:
    for number, place in enumerate(places):
        yield _Case("kill", save_every, number)
        if place.kind in _BETWEEN_ITEMS:
            yield _Case("interrupt", save_every, number)
        if mid_item and place.can_fail:
            yield _Case("fail", save_every, number)


def _chosen(cases: list[_Case], most: int | None, chance: random.Random) -> list[_Case]:
    """All cases; if there are too many, the first, the last and random others, in their order."""
    if most is None or len(cases) <= most:
        return cases
    inner = chance.sample(range(1, len(cases) - 1), max(most - 2, 0))
    return [cases[index] for index in sorted({0, len(cases) - 1, *inner})][:most]
