"""What an error that leaves a block is told with: the item, those around it, and that all is saved."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resumable import Checkpoint, checkpointed
from resumable.stores import MemoryStore


def notes(block: Callable[[Checkpoint], object]) -> list[str]:
    with pytest.raises(ZeroDivisionError) as caught, checkpointed("job", store=MemoryStore()) as cp:
        block(cp)
    return caught.value.__notes__


def test_an_error_says_at_which_item_it_came() -> None:
    def block(cp: Checkpoint) -> None:
        for url in cp.remaining(["a", "b", "c"]):
            1 // (url != "b")

    assert notes(block) == ["resumable: at url 2 of 3 ('b')", "resumable: 'job' is saved at item 1; run again to go on"]


def test_an_error_within_nested_loops_names_the_item_of_each() -> None:
    def block(cp: Checkpoint) -> None:
        for epoch in cp.remaining(range(4)):
            for step in cp.remaining(iter("xyz"), name="step"):
                1 // (epoch != 1 or step != "y")

    assert notes(block)[0] == "resumable: at step 2, in epoch 2 of 4 (1)"


def test_an_item_that_holds_a_secret_is_not_told() -> None:
    def block(cp: Checkpoint) -> None:
        for _ in cp.remaining(["https://user:hunter2@host/"]):
            raise ZeroDivisionError

    assert "hunter2" not in notes(block)[0]
    assert "1 of 1" in notes(block)[0]


def test_items_that_are_known_by_key_are_told_by_their_number() -> None:
    def block(cp: Checkpoint) -> None:
        for _ in cp.remaining([{"id": 3}], key="id"):
            raise ZeroDivisionError

    assert notes(block)[0].endswith(" 1 of 1")


def test_a_map_names_its_item_once() -> None:
    def block(cp: Checkpoint) -> None:
        list(cp.map(lambda number: 1 // number, [1, 0]))

    assert [note for note in notes(block) if note.startswith("resumable: at ")] == ["resumable: at item 0"]


def test_an_error_after_the_loop_names_no_item() -> None:
    def block(cp: Checkpoint) -> None:
        for _ in cp.remaining([1]):
            pass
        raise ZeroDivisionError

    assert [note for note in notes(block) if note.startswith("resumable: at ")] == []
