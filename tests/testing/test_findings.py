"""What a proof found, in words."""

from __future__ import annotations

from typing import Any

import pytest

from resumable.testing._findings import HINTS, Finding, Proof, ProofFailed, diff, judge_effects


@pytest.mark.parametrize(
    ("expected", "found", "late", "kinds"),
    [
        pytest.param([1, 2], [1, 2], [], [], id="the same"),
        pytest.param([1, 2], [2, 1], [], [], id="order"),
        pytest.param([1, 2], [1], [], ["effect missing"], id="missing"),
        pytest.param([1, 2], [1, 2, 2], [], ["effect repeated"], id="repeated"),
        pytest.param([1, 2], [1, 2, 2], [2], [], id="repeated since the last save"),
        pytest.param([1], [1, 3], [], ["effect unexpected"], id="unexpected"),
        pytest.param([{}], [{}, {}], [], ["effect repeated"], id="unhashable"),
        pytest.param("ab", "a", [], ["effect missing"], id="text that is shorter"),
        pytest.param("a", "ab", [], ["effect repeated"], id="text that is longer"),
    ],
)
def test_effects_are_counted(expected: Any, found: Any, late: list[Any], kinds: list[str]) -> None:
    assert [kind for kind, _ in judge_effects(expected, found, late, exactly_once=False)] == kinds


def test_nothing_may_come_twice_where_that_is_asked_for() -> None:
    ((kind, details),) = judge_effects([1, 2], [1, 2, 2], [2], exactly_once=True)

    assert (kind, details) == ("effect repeated", "+ 2")


def test_a_diff_names_both_sides_and_ends_somewhere() -> None:
    assert diff({"a": 1}, {"a": 2}).splitlines()[:1] == ["- {'a': 1}"]
    assert diff(list(range(100, 200)), []).endswith("more lines")


def test_a_failure_groups_what_went_wrong_and_says_why() -> None:
    findings = [Finding("result diverged", "killed"), Finding("result diverged", "failed"), Finding("no progress")]
    proof = Proof(cases=3, places=9, items=5, saves=2, seed=1, findings=findings)

    text = str(ProofFailed(proof))

    assert not proof
    assert "3 of 3 stops went wrong (chosen of 9 (seed 1), 5 items, 2 saves)" in text
    assert "… and 1 more like it" in text
    assert all(HINTS[kind] in text for kind in ("result diverged", "no progress"))


def test_a_proof_that_holds_says_what_was_tried() -> None:
    proof = Proof(cases=9, places=9, items=5, saves=2, seed=1)

    assert proof
    assert str(proof) == "resumable: the same result and effects after each of 9 stops (5 items, 2 saves)"
