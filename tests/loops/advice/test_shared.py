"""Variables that several functions share: told of only where one of them is used for a result."""

from __future__ import annotations

import contextlib
import linecache
import logging
import textwrap
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every

HEAD = """
class Job:
    def __init__(self):
        self.count, self.total, self.rows = 0, 0, []

    def get(self, item):
        self.count += 1
        return item

    def run(self, cp, stops_at):
        for item in cp.remaining(range(5)):
            BODY
            if item == stops_at:
                raise LookupError

calls = 0
def get(item):
    global calls
    calls += 1
    LAST
    return item

def run(cp, stops_at):
    job = Job()
    job.run(cp, stops_at)
    return job
"""


def names_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, body: str, more: str, last: str) -> set[str]:
    text = textwrap.dedent(HEAD).replace("BODY", body).replace("LAST", last) + more
    file = f"/a program of {tmp_path.name}.py"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    for stops_at in (3, None):
        names: dict[str, Any] = {}
        exec(compile(text, file, "exec"), names)
        with contextlib.suppress(LookupError), checkpointed("job", every(items=1), store=tmp_path) as cp:
            names["run"](cp, stops_at)
    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    return {str(one.args[2]) for one in told if isinstance(one.args, tuple)}


PRINTS = "\n\ndef report(job):\n    print(job.count, job.total)\n"
RETURNS = "\n\ndef result(job):\n    return job.count, job.total, job.rows, calls\n"


@pytest.mark.parametrize(
    ("body", "more", "last", "names"),
    [
        pytest.param("self.count += 1", "", "", set(), id="a count that nobody reads"),
        pytest.param("self.count += 1", PRINTS, "", set(), id="a count that is printed"),
        pytest.param("self.count += 1", RETURNS, "", {"self.count"}, id="a count that is returned"),
        pytest.param("self.count += 1", "\n\njob = Job()\nprint(job.count)\n", "", {"self.count"}, id="by the module"),
        pytest.param("self.total += item", "", "", {"self.total"}, id="a sum for others"),
        pytest.param("self.total += item", PRINTS, "", set(), id="a sum that is printed"),
        pytest.param("self.rows.append(item)", "", "", {"self.rows"}, id="a list for others"),
        pytest.param("self.get(item)", PRINTS, "", set(), id="by a method"),
        pytest.param("self.get(item)", RETURNS, "", {"self.count"}, id="by a method, returned"),
        pytest.param("get(item)", PRINTS, "if calls % 3 == 0: print(calls)", set(), id="by a function"),
        pytest.param("get(item)", RETURNS, "", {"calls"}, id="by a function, returned"),
        pytest.param("get(item)", "", "setattr(Job, f'of{calls}', item)", {"calls"}, id="used there"),
    ],
)
def test_what_functions_share(
    body: str, more: str, last: str, names: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert names_told(tmp_path, caplog, body, more, last or "pass") == names
