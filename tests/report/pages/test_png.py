"""A picture of the report's first charts."""

from __future__ import annotations

import sys

import pytest

from resumable import checkpointed
from resumable._format.restore import Restored, restore
from resumable._report.pages.png import to_png
from resumable._report.stored.summary import Summary, summary_of
from resumable.testing import ManualClock, MemoryStore
from tests.support.blocks import Stop, stopped


@pytest.fixture
def done() -> tuple[Summary, Restored]:
    """An operation that was left at its third item, as a report sees it."""
    store, clock = MemoryStore(), ManualClock()
    with stopped(), checkpointed("job $x$", store=store) as cp:
        for number in cp.remaining(range(5)):
            if number == 2:
                raise Stop
    summary, restored = summary_of(store, "job $x$"), restore(store, "job $x$", now=clock.utc())
    assert summary is not None
    assert restored is not None
    return summary, restored


@pytest.mark.slow
def test_it_is_a_png(done: tuple[Summary, Restored]) -> None:
    pytest.importorskip("matplotlib")

    assert to_png(*done).startswith(b"\x89PNG\r\n")


def test_without_matplotlib_it_says_what_to_install(
    done: tuple[Summary, Restored], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        to_png(*done)
