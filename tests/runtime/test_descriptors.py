"""Descriptors: none of ours has the number of a standard stream, and one is kept for the last save."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resumable import checkpointed, every
from resumable._report.stored.summary import summary_of
from resumable._runtime import disk
from resumable.stores import open_store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
WITHOUT_STREAMS = """
import os
for number in range(3):
    os.close(number)
from resumable import checkpointed, every

with checkpointed("job", every(items=1)) as cp:
    rows = cp.sink("rows.txt")
    for i in cp.remaining(range(9)):
        rows.write(f"{i}\\n")
        cp.save()
        for number in range(3):
            try:
                os.write(number, b"NOISE")
            except OSError:
                pass
"""
WITHOUT_ROOM = """
import resource, socket
from resumable import checkpointed, every

with checkpointed("job", every(items=1)) as cp:
    rows, held = cp.sink("rows.txt"), []
    for i in cp.remaining(range(9)):
        rows.write(f"{i}\\n")
        if i == 4:
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
            while True:
                held.append(socket.socket())
"""


def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_no_file_gets_the_number_of_a_closed_standard_stream(tmp_path: Path) -> None:
    assert run(WITHOUT_STREAMS, tmp_path).returncode == 0
    assert (tmp_path / "rows.txt").read_text() == "".join(f"{i}\n" for i in range(9))
    assert not [path for path in tmp_path.iterdir() if b"NOISE" in path.read_bytes()]


@pytest.mark.slow
def test_a_program_without_a_descriptor_left_is_saved_as_it_ends(tmp_path: Path) -> None:
    ended = run(WITHOUT_ROOM, tmp_path)

    assert "'job' is saved at item 4" in ended.stderr
    summary = summary_of(open_store(tmp_path), "job")
    assert summary is not None
    assert summary.state == "failed"


def test_the_reserve_is_one_descriptor_and_is_spent_once() -> None:
    disk.spend_reserve()
    before = len(os.listdir("/dev/fd"))
    disk.reserve()
    disk.reserve()
    assert len(os.listdir("/dev/fd")) == before + 1
    disk.spend_reserve()
    disk.spend_reserve()
    assert len(os.listdir("/dev/fd")) == before


def test_no_block_leaves_a_descriptor_open(tmp_path: Path) -> None:
    disk.spend_reserve()
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with checkpointed("job", every(items=1), store=tmp_path) as cp:
            for _ in cp.remaining(range(3)):
                pass
        with pytest.raises(KeyError), checkpointed("other", store=tmp_path):
            raise KeyError
    assert len(os.listdir("/dev/fd")) == before
