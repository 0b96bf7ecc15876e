"""The names and digests of artifacts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    StateEncodeError,
    checkpointed,
)
from resumable.stores import CheckpointStore
from tests.support.artifacts import NEVER, STORES, kept, put, text_of


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    return STORES[request.param](tmp_path)


HOSTILE = ["../../x", "/etc/passwd", "a/b", "a_b", "\0", ".", "..", "A", "a", " ", "x" * 3000, "é", "CON", "\n", "🦊"]


def test_names_that_look_alike_or_are_no_file_names_are_apart(store: CheckpointStore) -> None:
    with checkpointed("job", NEVER, store=store) as cp:
        for name in HOSTILE:
            put(cp, name, name)
        cp.keep()
    with checkpointed("job", NEVER, store=store) as cp:
        assert [text_of(cp, name) for name in HOSTILE] == HOSTILE


@pytest.mark.parametrize(
    ("name", "error"), [("", ValueError), (1, TypeError), (None, TypeError), ("\ud800", StateEncodeError)]
)
def test_what_is_no_name_is_refused(tmp_path: Path, name: Any, error: type[Exception]) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp, pytest.raises(error):
        cp.artifact(name)


def test_the_saved_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = kept(tmp_path)
    saved = json.loads((tmp_path / ".checkpoint_job.json").read_text())["resumable"]["artifacts"]["model"]
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert (saved["sha256"], saved["size"], saved["version"]) == (done.stdout.split()[0], 7, path.parent.name)
