"""What all tests share.

Each async test runs on asyncio's own loop and on uvloop's. Each fault test tells its figure; they are printed together
at the end, as one table.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest
from hypothesis import settings

from resumable.stores import FileStore
from resumable.testing import ManualClock

try:
    import uvloop
except ModuleNotFoundError:  # there is none for Windows
    LOOPS = {"asyncio": asyncio.new_event_loop}
else:
    LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
FAULTS = Path(__file__).parent / "faults"
LOGGER = logging.getLogger("resumable")
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])  # of our command
WHOLE = os.environ.get("RESUMABLE_FAULTS") == "all"
# A loaded machine is no fault of the example. Only a whole campaign draws new examples: known ones judge a change.
settings.register_profile("any speed", deadline=None, derandomize=not WHOLE)
settings.load_profile("any speed")
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, here and in what the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in the background
os.environ["RESUMABLE_INDEX"] = "off"  # no test, and nothing that one starts, writes to the user's state directory


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return LOOPS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, and an environment that says nothing."""
    for name in ("CHECKPOINT_DIR", "CHECKPOINT_AUTO_CLEANUP", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Row(NamedTuple):
    """One line of the table."""

    fault: str
    cases: int
    outcome: str


class Figure(Protocol):
    """Notes what was done to the library, how often, and what came of it."""

    def __call__(self, fault: str, cases: int = 0, outcome: str = "") -> None: ...


_rows = pytest.StashKey[list[Row]]()
_ASSERTED = (
    "lost ticked items after a reported save",
    "half-written states accepted",
    "wrong states accepted",
    "foreign exceptions",
    "hangs",
)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_rows] = []
    # So that the small checkpoints of tests see folds.
    FileStore.traits = dataclasses.replace(FileStore.traits, fold_after=0)
    # A shell lets what it starts in the background ignore Ctrl-C, and so would every process that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before marks choose
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of the fault tests are slow."""
    for item in items:
        if FAULTS in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _commands_leave_the_logger_as_it_was() -> Iterator[None]:
    """Some of the command line set its level, for they are the whole process."""
    level = LOGGER.level
    yield
    LOGGER.setLevel(level)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    rows = request.config.stash.setdefault(_rows, [])

    def note(fault: str, cases: int = 0, outcome: str = "") -> None:
        name, _, rest = fault.partition(": ")
        rows.append(Row(name, cases, outcome or rest))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_rows, [])
    if not rows:
        return
    terminalreporter.section("faults")
    width = max(len(row.fault) for row in rows)
    for row in rows:
        cases = f"{row.cases:,}" if row.cases else ""
        terminalreporter.line(f"{row.fault:{width}} {cases:>10}  {row.outcome}")
    terminalreporter.line(f"{'all':{width}} {sum(row.cases for row in rows):>10,}  {_verdict(terminalreporter)}")


def _verdict(terminalreporter: pytest.TerminalReporter) -> str:
    """Every test asserts that there was none of these."""
    failed = len(terminalreporter.stats.get("failed", [])) + len(terminalreporter.stats.get("error", []))
    return f"{failed} tests FAILED" if failed else "; ".join(f"{what} 0" for what in _ASSERTED)
