"""The findings of a proof as text: where it failed, what differs, and the usual reason."""

from __future__ import annotations

import difflib
import pprint
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ._probe import Opening, Place

_DIFF_LINES = 20

HINTS = {
    "differs between two runs": (
        "the result depends on time, randomness, order, or what an earlier run left (give reset=)"
    ),
    "result diverged": "what is not in cp.state is lost with the process, and what is in it must fit the done items; "
    "an error within an item saves cp.state as it is then: do the work first, then change it by one assignment",
    "effect missing": "an item counted as done before its work (call tick after it), the input changed its order, or "
    "the second run emptied the output (open(..., 'w'); cp.sink goes on in it)",
    "effect repeated": "it happened before the stop and again after it: keep in cp.state what is done, send a key by "
    "which the receiver recognizes a repetition, or write rows to cp.sink",
    "effect unexpected": "the second run did something that the uninterrupted run does not",
    "run again failed": "the second run cannot go on from what was saved, or from the files that were there already",
    "no progress": "each run repeats the same work and gets no further: nothing of it is kept in cp.state",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One case that went wrong.

    Attributes:
        kind: What went wrong, one of ``HINTS``.
        how: How the run was stopped: ``killed``, ``interrupted``, ``failed``, …
        place: Where it was stopped; None if it was not.
        details: What differs: ``-`` is the uninterrupted run, ``+`` the one that was stopped and run again.
        openings: How the second run began.
    """

    kind: str
    how: str = ""
    place: Place | None = None
    details: str = ""
    openings: tuple[Opening, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.how} {self.place}" if self.place else f"{self.kind}: {self.how}".rstrip(": ")]
        if self.place is not None:
            lines.append(f"  at {self.place.source}")
        lines += [f"  then: {opening}" for opening in self.openings[:3]]
        return "\n".join([*lines, *(f"    {line}" for line in self.details.splitlines())])


@dataclass(frozen=True, slots=True)
class Proof:
    """The cases that were tried, and the findings.

    Attributes:
        cases: How often the job was stopped and run again.
        places: The number of places to stop at; more than ``cases`` if ``max_cases`` is smaller.
        items, saves: The counts of the uninterrupted run.
        findings: The failures; empty if the job is resumable.
        seed: The seed that chose the places, if there were too many.
    """

    cases: int
    places: int
    items: int
    saves: int
    seed: int
    findings: list[Finding] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        if self.findings:
            return _failure(self)
        return f"resumable: the same result and effects after each of {self.cases:,} stops ({_extent(self)})"


def _extent(proof: Proof) -> str:
    part = f"chosen of {proof.places:,} (seed {proof.seed}), " if proof.cases < proof.places else ""
    return f"{part}{proof.items:,} items, {proof.saves:,} saves"


class ProofFailed(AssertionError):
    """The job is not resumable; the text says where, and what differs. ``proof`` has all cases and findings."""

    __module__ = "resumable.testing"

    def __init__(self, proof: Proof) -> None:
        super().__init__(proof)
        self.proof = proof

    def __str__(self) -> str:
        return str(self.proof)


def _failure(proof: Proof) -> str:
    kinds = Counter(finding.kind for finding in proof.findings)
    if kinds.keys() == {"differs between two runs"}:
        head = "the job cannot be proved resumable: it was run twice, never stopped, and the two runs differ"
    else:
        wrong = len({(finding.how, finding.place) for finding in proof.findings})
        head = f"the job is not resumable: {wrong:,} of {proof.cases:,} stops went wrong ({_extent(proof)})"
    blocks = [head]
    for number, (kind, count) in enumerate(kinds.most_common(), start=1):
        first, *_ = (finding for finding in proof.findings if finding.kind == kind)
        text = f"{number}. {first}".replace("\n", "\n   ")
        more = f"\n   … and {count - 1} more like it" if count > 1 else ""
        blocks.append(f"{text}{more}\n   why: {HINTS[kind]}")
    return "\n\n".join(blocks)


def diff(expected: Any, found: Any) -> str:
    """What differs, a few lines of it: ``-`` expected, ``+`` found."""
    lines = list(difflib.ndiff(_lines(expected), _lines(found)))
    changed = [line.rstrip() for line in lines if line[:1] in "-+"]
    rest = len(changed) - _DIFF_LINES
    return "\n".join(changed[:_DIFF_LINES] + ([f"… and {rest} more lines"] if rest > 0 else []))


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict) and value and all(isinstance(text, str) and "\n" in text for text in value.values()):
        return [f"{name}: {line}" for name, text in value.items() for line in text.splitlines()]
    return pprint.pformat(value, width=100).splitlines()


def judge_effects(expected: Any, found: Any, late: Iterable[Any], *, exactly_once: bool) -> Iterator[tuple[str, str]]:
    """The kinds and details of wrong effects in *found*; those in *late* came after the last save, and may repeat."""
    if not isinstance(expected, list | tuple) or not isinstance(found, list | tuple):
        if expected != found:
            is_less = len(repr(found)) < len(repr(expected))
            yield "effect missing" if is_less else "effect repeated", diff(expected, found)
        return
    want, have = Counter(map(_key, expected)), Counter(map(_key, found))
    may = Counter() if exactly_once else Counter(map(_key, late))
    if missing := want - have:
        yield "effect missing", _listed("-", missing)
    if strange := Counter({key: count for key, count in have.items() if key not in want}):
        yield "effect unexpected", _listed("+", strange)
    if repeated := have - want - may - strange:
        yield "effect repeated", _listed("+", repeated)


def _key(effect: Any) -> Any:
    try:
        hash(effect)
    except TypeError:
        return repr(effect)
    return effect


def _listed(sign: str, effects: Counter[Any]) -> str:
    lines = [f"{sign} {effect!r}" + (f"  ({count} times)" if count > 1 else "") for effect, count in effects.items()]
    rest = len(lines) - _DIFF_LINES
    return "\n".join(lines[:_DIFF_LINES] + ([f"… and {rest} more"] if rest > 0 else []))
