"""The card of a notebook: what it tells, that all in it is text, and that it outlives its kernel."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import resumable
from resumable import checkpointed, every
from resumable._report.card import card_of_progress
from resumable._report.terminal.bar import ProgressView

HOSTILE = "<script>alert(1)</script>\x1b[31m\"'&"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text_of(html: str) -> str:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(html)
    assert "<script" not in html
    return " ".join("".join(found).split())


def test_a_checkpoint_shows_how_far_it_is_and_when_it_was_saved() -> None:
    with checkpointed("job", every(hours=1)) as cp:
        for number in cp.remaining(range(60)):
            if number == 20:
                cp.fail(number, "no")
            if number == 21:
                cp.save()
                shown = cp._repr_html_()
                break

    told = text_of(shown)
    assert told.startswith("job 21 of 60saved just now in .checkpoint_job.json")
    assert "1 failed" in told
    assert "width:35.0%" in shown
    assert "closed" in text_of(cp._repr_html_())


def test_a_view_shows_what_was_saved_and_how_to_go_on() -> None:
    with pytest.raises(ValueError, match="script"), checkpointed(HOSTILE, every(hours=1)) as cp:  # noqa: PT012
        cp.log("rows").append(1)
        for number in cp.remaining(range(60)):
            if number == 21:
                raise ValueError(HOSTILE)

    told = text_of(resumable.read(HOSTILE)._repr_html_())
    assert "21 of 60" in told
    assert "Interrupted: ValueError" in told
    assert "run 1 ended by ValueError: <script>alert(1)</script>" in told
    assert "rows (log of 1)" in told
    assert "\x1b" not in told


def test_the_card_of_a_run_tells_what_to_do_should_its_kernel_die() -> None:
    view = ProgressView(operation_id=HOSTILE, at=datetime.now().astimezone(), done=21, total=60, rate=2.0)
    told = text_of(card_of_progress(view))

    assert "21/60 · 2/s" in told
    assert "if the kernel dies, run the cell again: it goes on" in told
    assert "\x1b" not in told
    last = card_of_progress(replace(view, is_last=True, last_words="60 of 60 in 3 s"))
    assert "if the kernel dies" not in last
    assert "60 of 60 in 3 s" in last


def test_the_last_card_of_a_run_promises_no_end_and_tells_how_to_go_on() -> None:
    view = ProgressView(
        operation_id="nb", at=datetime.now().astimezone(), done=21, total=60, rate=2.0, seconds_left=20.0
    )

    stopped = text_of(card_of_progress(replace(view, is_last=True)))
    assert "left" not in stopped
    assert "21 of 60stopped" in stopped
    assert "run the cell again: it goes on" in stopped
    failed = text_of(card_of_progress(replace(view, is_last=True, last_words="nb: 21 of 60 in 3 s, 1 failed")))
    assert "21 of 6021 of 60 in 3 s, 1 failed" in failed
    done = text_of(card_of_progress(replace(view, done=60, is_last=True, last_words="nb: 60 of 60 in 3 s")))
    assert "run the cell again" not in done


# -- a real kernel ----------------------------------------------------------------------------------------------------

SETUP = """
import time, resumable
from resumable import checkpointed, every
def run(seconds):
    global cp
    with checkpointed("nb", every(seconds=0.1), progress=True) as cp:
        for number in cp.remaining(range(60)):
            print("item", number, flush=True)
            time.sleep(seconds)
"""


class Kernel:
    """A kernel of IPython, in a process of its own."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3")

    def run(self, code: str, until: str = "") -> str:
        """What a cell shows, as HTML where it has that; returns early once it has written *until*."""
        self._asked = self.client.execute(code)
        return self.rest(until)

    def rest(self, until: str = "") -> str:
        """What the cell that runs shows from now on."""
        shown = ""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=60)
            except queue.Empty:
                return shown
            if message["parent_header"].get("msg_id") != self._asked:
                continue
            content: Any = message["content"]
            if message["msg_type"] in ("execute_result", "display_data", "update_display_data"):
                shown += content["data"].get("text/html", content["data"].get("text/plain", ""))
            elif message["msg_type"] == "stream":
                shown += content["text"]
            elif message["msg_type"] == "error":
                shown += f"{content['ename']}: {content['evalue']}"
            if (until and until in shown) or (message["msg_type"] == "status" and content["execution_state"] == "idle"):
                return shown

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernels(here: Path) -> Iterator[list[Kernel]]:
    pytest.importorskip("jupyter_client")
    pytest.importorskip("ipykernel")
    started: list[Kernel] = []
    yield started
    for one in started:
        one.end()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of jupyter_client and zmq
def test_a_kernel_is_interrupted_and_killed_and_the_next_one_goes_on(kernels: list[Kernel]) -> None:
    kernels.append(first := Kernel())
    first.run(SETUP)
    assert "item 3" in first.run("run(0.5)", until="item 3")
    first.manager.interrupt_kernel()
    assert "KeyboardInterrupt" in first.rest()
    card = first.run("cp")
    assert "resumable-card" in card
    assert "of 60" in card
    alive = first.run("run(0.5)", until="if the kernel dies, run the cell again")
    assert "resumable-card" in alive
    first.manager.shutdown_kernel(now=True)

    kernels.append(second := Kernel())
    second.run(SETUP)
    saved = second.run("resumable.read('nb')")
    assert "resumable-card" in saved
    assert "of 60" in saved
    assert "done 60" in second.run("run(0)\nprint('done', cp.processed_items)")
