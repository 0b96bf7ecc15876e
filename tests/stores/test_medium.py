"""What all media share: holders as text, keys for rows, addresses, and leases that are seen unchanged."""

from __future__ import annotations

import pytest

from resumable.stores import Holder
from resumable.stores import _medium as medium
from resumable.stores._medium import Parameters, Unchanged, decoded, encoded, row_key


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid":"x"}', b"\xff", None, "[" * 100_000], ids=range(7))
def test_a_holder_that_cannot_be_read_is_unknown(text: str | bytes | None) -> None:
    assert decoded(text) == Holder("", 0, "")


def test_a_holder_comes_back() -> None:
    me = Holder.me()

    assert decoded(encoded(me)) == me


def test_keys_of_rows_differ_wherever_ids_do() -> None:
    ids = ["Job", "job", "job ", "jöb", "jo\0b", "x" * 10_000]

    assert len({row_key(one) for one in ids}) == len(ids)
    assert {len(row_key(one)) for one in ids} == {64}


@pytest.mark.parametrize(
    ("address", "named"),
    [("redis://h/0", "redis://h/0?table_prefix=x_"), ("redis://h/0?ssl=1", "redis://h/0?ssl=1&table_prefix=x_")],
)
def test_an_address_names_its_tables(address: str, named: str) -> None:
    assert Parameters(table_prefix="x_").added_to(address) == named
    assert Parameters().added_to(address) == address


def test_a_lease_is_unchanged_since_it_was_seen_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(medium, "passed_seconds", lambda: now)
    seen = Unchanged()

    assert seen.seconds("job", "renewed once") == 0.0
    now += 7
    assert seen.seconds("job", "renewed once") == 7.0
    assert seen.seconds("other", "renewed once") == 0.0
    assert seen.seconds("job", "renewed twice") == 0.0
    now += 2
    assert seen.seconds("job", "renewed twice") == 2.0
