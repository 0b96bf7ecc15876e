"""Every block of code in the README is run, with a fetch that fails once in the middle."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import resumable

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
ITEMS = [f"https://example.org/{number}" for number in range(20)]


class World:
    """What the README takes for granted: things to fetch, and a network that fails once."""

    def __init__(self) -> None:
        self.fetched: Counter[str] = Counter()
        self.published: list[Any] = []
        self.fails_at: str | None = ITEMS[11]

    def fetch(self, url: str) -> str:
        if url == self.fails_at:
            self.fails_at = None
            raise ConnectionError(url)
        self.fetched[url] += 1
        return url.upper()

    async def fetch_async(self, url: str) -> str:
        await asyncio.sleep(0)
        return self.fetch(url)

    def names(self) -> dict[str, Any]:
        known = {name: getattr(resumable, name) for name in resumable.__all__}
        return known | {
            "urls": ITEMS,
            "items": ITEMS,
            "fetch": self.fetch,
            "convert": self.fetch,
            "fetch_async": self.fetch_async,
            "list_files": lambda repo_name: ITEMS,
            "publish": self.published.append,
            "json": json,
            "my_job": my_job,
            "shard": 0,
            "shards": 1,
        }


def my_job() -> int:
    with resumable.checkpointed("proved") as cp:
        for number in cp.remaining(range(5)):
            cp.state["sum"] = cp.state.get("sum", 0) + number
        return int(cp.state["sum"])


def run(block: str, names: dict[str, Any]) -> None:
    exec(compile(block, "README.md", "exec"), names)
    main = names.get("crawl")
    if inspect.iscoroutinefunction(main):
        asyncio.run(main())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[0][:50])
def test_a_block_fails_once_goes_on_and_leaves_nothing_behind(block: str, here: Path) -> None:
    world = World()
    try:
        run(block, world.names())
    except ConnectionError:
        run(block, world.names())

    most = 2 if "executor" in block else 1  # what was in flight when one failed is done again
    assert set(world.fetched.values()) <= set(range(1, most + 1)), "an item was fetched again"
    assert not world.fetched or set(world.fetched) == set(ITEMS)
    is_kept = "auto_cleanup=False" in block or 'when_done="skip"' in block
    assert is_kept == bool([path.name for path in here.rglob(".checkpoint_*")])


def test_the_first_screen_publishes_everything(here: Path) -> None:
    world = World()
    with pytest.raises(ConnectionError):
        run(BLOCKS[0], world.names())
    run(BLOCKS[0], world.names())

    assert [dict(pages) for pages in world.published] == [{url: url.upper() for url in ITEMS}]
