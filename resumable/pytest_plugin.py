"""For pytest: the fixture ``prove_resumable``, and ``--resumable-crash N`` to stop what is under test N times.

Every pytest run loads it if this package is installed. So it imports the package only when it is used.
"""

from __future__ import annotations

import zlib
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import pytest

_crashes = pytest.StashKey[Any]()
_stops = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("resumable").addoption(
        "--resumable-crash",
        type=_count,
        default=0,
        metavar="N",
        help="stop each @resumable function under test N times, in turn as a kill and as Ctrl-C, and call it again",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"N is how many times, a whole number from 0 on, not {text!r}")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_stops] = Counter()


@pytest.fixture
def prove_resumable() -> Callable[..., Any]:
    """:func:`resumable.testing.prove_resumable`: fails unless a job has one result, however often it is stopped."""
    from .testing import prove_resumable

    return prove_resumable


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    times = item.config.getoption("resumable_crash")
    if not times or "prove_resumable" in getattr(item, "fixturenames", ()):
        return (yield)
    from .testing.crashes import Crashes

    crashes = item.stash[_crashes] = Crashes(times, seed=zlib.crc32(item.nodeid.encode()))
    try:
        with crashes.installed():
            return (yield)
    finally:
        item.config.stash[_stops].update(crashes.stops)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report: Any = yield
    crashes = item.stash.get(_crashes, None)
    if report.when == "call" and report.failed and crashes is not None and crashes.told:
        report.sections.append(("resumable: where it was stopped", "\n".join(crashes.told)))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    stops = session.config.stash[_stops]
    getattr(session.config, "workeroutput", {})["resumable"] = dict(stops)  # pytest-xdist: for the process that prints


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_stops].update(getattr(node, "workeroutput", {}).get("resumable", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("resumable_crash"):
        stops = config.stash[_stops]
        terminalreporter.write_line(f"resumable: {len(stops)} functions were stopped, {stops.total()} times in all")
