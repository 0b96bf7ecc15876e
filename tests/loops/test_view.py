"""The saved form of a loop: which one it is, and where its earlier runs were left."""

from __future__ import annotations

from typing import Any

import pytest

from resumable._loops.view import NEVER_BEGUN, Identity, identity_of, read, written


@pytest.mark.parametrize(
    ("left", "text"),
    [
        pytest.param({}, "", id="none"),
        pytest.param({1: 5}, "5", id="one"),
        pytest.param(dict.fromkeys(range(1, 500), 1) | {500: 2, 502: 7}, "499*1 2 - 7", id="many alike, and a gap"),
        pytest.param({3: 4, 4: 4}, "2*- 2*4", id="the first ones ended"),
        pytest.param({1: NEVER_BEGUN, 2: 0}, "? 0", id="never begun"),
    ],
)
def test_where_runs_were_left_is_written_shortly_and_read_back(left: dict[int, int], text: str) -> None:
    assert written(left) == text
    assert read(text) == left


@pytest.mark.parametrize("text", ["x", "1.5", "2*", "2*x", "x*2"])
def test_what_nobody_has_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read(text)


def test_the_saved_form_of_an_identity_comes_back() -> None:
    identity = Identity(("outer", 3), "main:crawl cp#1/1", 7, 4, {"4": "abc"}, left="3")

    assert identity_of(identity.to_dict()) == identity
    assert identity.to_dict()["folded"] == 4, "the name in the file"


@pytest.mark.parametrize(
    ("form", "told"),
    [
        pytest.param({"run": 3, "folded": 1, "left": "1 2"}, "run 2 cannot have been left before run 1", id="left"),
        pytest.param({"run": 2, "folded": 2}, "run 2 cannot follow 2 others", id="run"),
        pytest.param({"run": 0}, "run 0 cannot follow 0 others", id="no run"),
    ],
)
def test_an_identity_that_cannot_be_is_refused(form: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        identity_of({"within": None, "place": "x", **form})
