"""A server with pages, and a run that goes through them."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from resumable import (
    CheckpointManager,
    checkpointed,
    every,
)


class Gone(Exception):
    """A client's error for a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status, headers={})


class Died(BaseException):
    """The program ends within an item."""


class Server:
    """Items in pages; a cursor is the number of the first item of its page."""

    def __init__(self, count: int = 10, size: int = 3) -> None:
        self.items: list[dict[str, Any]] = [{"id": number} for number in range(count)]
        self.size = size
        self.asked: list[Any] = []
        self.gone: set[Any] = set()

    def fetch(self, cursor: Any) -> tuple[list[dict[str, Any]], Any]:
        self.asked.append(cursor)
        if cursor in self.gone:
            raise Gone(410)
        first = 0 if cursor is None else cursor
        after = first + self.size
        return self.items[first:after], after if after < len(self.items) else None


def run(server: Server, dies_at: int | None = None, **options: Any) -> list[int]:
    """The ids of the items that this run has begun."""
    begun = []
    with suppress(Died), checkpointed("crawl", every(items=1), store="ck") as cp:
        for item in cp.pages(server.fetch, **options):
            begun.append(item["id"])
            if item["id"] == dies_at:
                raise Died
    return begun


def is_left() -> bool:
    return CheckpointManager("ck").load_checkpoint("crawl") is not None


def place() -> dict[str, Any]:
    found = CheckpointManager("ck").load_checkpoint("crawl")
    assert found is not None
    return dict(found.internal["loops"]["loop-1"])
