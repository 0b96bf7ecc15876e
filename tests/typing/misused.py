"""Mistakes that both type checkers find: one at each line that says so, and no other."""

from __future__ import annotations

from typing import Any

from resumable import AsyncCheckpoint, Checkpoint, resumable


@resumable(operation_id="x")
def fetch(cp: Checkpoint, a: int) -> list[int]:
    return [a]


@resumable
async def fetch_async(cp: AsyncCheckpoint, a: int) -> list[int]:
    return [a]


@resumable
def vague(cp: Checkpoint, a: int, more: Any = None) -> dict[str, Any]:
    return {}


class Client:
    @resumable(operation_id="x")
    def fetch(self, cp: Checkpoint, a: int) -> str:
        return str(a)


def does_not_fit(cp: Checkpoint, client: Client) -> None:
    fetch("1")  # mistake
    fetch(cp, 1)  # mistake
    fetch(1, 2)  # mistake
    fetch(b=1)  # mistake
    fetch_async("1")  # mistake
    client.fetch("1")  # mistake
    client.fetch(cp, 1)  # mistake
    found: str = fetch(1)  # mistake
    resumable(operation_ids="x")  # mistake
    resumable(retry=3)  # mistake
    vague("1")  # mistake
    print(found)
