"""A block inside of another checkpoint's: rows that may be lost are told of."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.WARNING, logger="resumable")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(name: str) -> Any:
    return checkpointed(name, every(items=1))


@pytest.mark.parametrize("kind", ["sink", "log", "ticks"])
def test_a_row_of_an_inner_loop_in_the_outer_checkpoint_is_told_once(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened("outer") as cp:
        rows, log = cp.sink("rows.txt"), cp.log("log")
        for item in cp.remaining(range(3)):
            rows.write(f"{item}\n")
            with opened("inner") as inner:
                for part in range(2) if kind == "ticks" else inner.remaining(range(2)):
                    if kind == "log":
                        log.append(part)
                    else:
                        rows.write(f"{item} {part}\n")
                    if kind == "ticks":
                        inner.state["part"] = part
                        inner.tick()
    (told,) = caplog.messages
    assert told.startswith("outer: ")
    assert "is written by an item of 'inner', a checkpoint inside of this one" in told
    assert len(rows.path.read_text().split()) == (3 if kind == "log" else 15)


def test_rows_around_an_inner_block_are_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    def run(stop: int) -> None:
        with opened("outer") as cp:
            rows, log = cp.sink("rows.txt"), cp.log("log")
            rows.write("head\n")
            for item in cp.remaining(range(3)):
                rows.write(f"{item}\n")
                with opened(f"inner {item}") as inner:
                    rows.write(f"{item} begins\n")
                    seen = inner.mapping("seen")
                    for part in inner.remaining(range(2)):
                        seen[str(part)] = part
                        if part == item == stop:
                            raise ConnectionError
                    rows.write(f"{item} ends\n")
                    log.append(dict(seen))
                rows.write(f"{item} is done\n")

    for stop in (0, 1):
        with pytest.raises(ConnectionError):
            run(stop)
    run(9)

    lines = Path("rows.txt").read_text().splitlines()
    assert lines == ["head", *(f"{item}{text}" for item in range(3) for text in ("", " begins", " ends", " is done"))]
    assert caplog.messages == []
