"""The digest that a thread computes is that of the bytes, however they come; the thread ends whatever happens."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from resumable import StateEncodeError, checkpointed, every
from resumable._engine import digest
from resumable._engine.digest import DigestBeside, digest_beside
from resumable._format.document import is_as_written


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "resumable-digest"]


@pytest.mark.parametrize("sizes", [[], [0], [1, 2, 3], [1 << 20], [700_000] * 5, [5, 3 << 20, 9], [100_000] * 120])
def test_it_is_the_digest_of_all_pieces(sizes: list[int]) -> None:
    pieces = [bytes([number % 250]) * size for number, size in enumerate(sizes)]
    beside = DigestBeside()
    for piece in pieces:
        beside.update(piece)

    assert beside.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()
    beside.close()
    assert not threads()


def hash_some_and_fail() -> None:
    with digest_beside() as beside:
        assert (os.cpu_count() or 1) == 1 or beside is not None
        if beside is not None:
            beside.update(b"x" * (2 << 20))
        raise KeyError


def test_the_thread_ends_with_the_block() -> None:
    with pytest.raises(KeyError):
        hash_some_and_fail()
    assert not threads()


def test_without_a_second_processor_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with digest_beside() as beside:
        assert beside is None


def test_so_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with digest_beside() as beside:
        assert beside is None


@pytest.mark.parametrize("kind", ["mapping", "log", "state"])
def test_a_large_document_is_as_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resumable._engine.document.BESIDE_FROM", 10_000)
    begun: list[str] = []
    run = DigestBeside._run
    monkeypatch.setattr(DigestBeside, "_run", lambda self: begun.append("") or run(self))
    monkeypatch.setattr(digest, "_PIECE", 3_000)
    records: dict[str, Any] = {f"k{number}": {"n": number, "text": "\u00e9" * 20} for number in range(3_000)}
    with checkpointed("job", every(hours=1), store=tmp_path) as cp:
        if kind == "mapping":
            cp.mapping("m").update(records)
        elif kind == "log":
            cp.log("m").extend(records.values())
        else:
            cp.state["m"] = records
        cp.save()
        cp.keep()

    assert begun or os.cpu_count() == 1
    assert not threads()
    assert is_as_written((tmp_path / ".checkpoint_job.json").read_bytes())
    with checkpointed("job", store=tmp_path) as cp:
        assert list(cp.state["m"]) == list(records if kind != "log" else records.values())


def save_a_bad_value(directory: Path) -> None:
    with checkpointed("job", every(hours=1), store=directory) as cp:
        files = cp.mapping("m")
        files.update({f"k{number}": {"n": number} for number in range(20_000)})
        row: dict[str, Any] = {"n": 1}
        files["last"] = row
        row["n"] = "\ud800"
        del row
        cp.save()


@pytest.mark.slow
def test_a_value_that_cannot_be_saved_ends_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resumable._engine.document.BESIDE_FROM", 10_000)
    with pytest.raises(StateEncodeError, match=r"\.m\.last\.n.*not valid Unicode"):
        save_a_bad_value(tmp_path)
    assert not threads()
