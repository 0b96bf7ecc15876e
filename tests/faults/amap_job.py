"""Requests through ``amap``, to be killed: ``python -m tests.faults.amap_job URL DIRECTORY ITEMS``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import tenacity

from resumable import checkpointed, every
from tests.faults.map_job import note

WINDOW = 64


async def main(url: str, directory: Path, items: int) -> None:
    limits = httpx.Limits(max_connections=WINDOW)
    policy = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        stop=tenacity.stop_after_attempt(20),
        wait=tenacity.wait_fixed(0.02),
    )
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:

        async def get(number: int) -> int:
            response = await client.get(url, params={"item": number, "per_page": 1, "page": number % 20 + 1})
            response.raise_for_status()
            return len(response.json())

        async with checkpointed("requests", every(items=1), store=directory, auto_cleanup=False) as cp:
            answers = cp.mapping("answers")
            async for number, count in cp.amap(get, range(items), max_in_flight=WINDOW, retry=policy):
                answers[str(number)] = count
                note(directory, "landed", str(number))
    note(directory, "finished", "")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
