"""``diff``: two checkpoints compared value by value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resumable import checkpointed, every
from tests.support.command import resumable

pytestmark = pytest.mark.usefixtures("home")


def keep(operation_id: str, store: str, items: int, **state: Any) -> None:
    with checkpointed(operation_id, every(hours=1), store=store, auto_cleanup=False) as cp:
        cp.state.update(state)
        for number in cp.remaining(range(10)):
            if number == items:
                break


def test_two_operations_are_compared_value_by_value() -> None:
    keep("one", ".", 3, page=1, same=[1, 2], gone="x")
    keep("two", ".", 4, page=2, same=[1, 2, 3], new={"a": 1})

    result = resumable("diff", "one", "two")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "~ $.state.page: 1 -> 2",
        "+ $.state.same[2]: 3",
        "- $.state.gone: 'x'",
        "+ $.state.new: {'a': 1}",
        "~ $.loops['loop-1'][0]: 3 -> 4",
        "~ $.processed_items: 3 -> 4",
    ]
    as_json = json.loads(resumable("diff", "one", "two", "--json").output)
    assert as_json[0] == {"path": "$.state.page", "before": 1, "after": 2}
    assert resumable("diff", "one", "one").exit_code == 0
    assert resumable("diff", "one", "none").exit_code == 1


def test_a_set_has_no_order() -> None:
    for name, numbers in (("one", [1, 2, 3]), ("two", [3, 2, 1]), ("three", [2, 3, 4])):
        with checkpointed(name, auto_cleanup=False) as cp:
            cp.set("seen", int).update(numbers)
            cp.set("ids").update(map(str, numbers))

    assert resumable("diff", "one", "two").output == ""
    assert resumable("diff", "one", "three").output.splitlines() == [
        "- $.state.seen['1']: 1",
        "+ $.state.seen['4']: 4",
        "- $.state.ids['1']: '1'",
        "+ $.state.ids['4']: '4'",
    ]


def test_one_operation_is_compared_with_its_snapshot_before() -> None:
    keep("one", ".", 3)
    assert "only one snapshot" in resumable("diff", "one").output
    keep("one", ".", 5)

    assert "~ $.processed_items: 3 -> 5" in resumable("diff", "one").output
    assert resumable("diff", "none").exit_code == 1
