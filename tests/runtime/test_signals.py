"""Ctrl-C and SIGTERM, sent to real processes."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, checkpointed, every, stop
from resumable._runtime import signals
from resumable.testing import MemoryStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

PATIENCE = 300
ROOT = Path(__file__).parents[2]

HEAD = """
import os, signal, sys, threading, time
from resumable import checkpointed, every

def wait_for_the_signal():
    # The parent sends it once this is printed; the handler runs between two of these naps.
    print("send", flush=True)
    until = time.monotonic() + 30
    while not heard() and time.monotonic() < until:
        time.sleep(0.005)

def heard():
    from resumable._runtime import signals
    return signals.wish.number is not None

def note(item):
    with open("done", "a") as file:
        file.write(f"{item}\\n")
"""

PLAIN = """
with checkpointed("job", every(hours=1), store=".") as cp:
    for item in range(cp.state.get("next", 0), 100):
        if item == 41 and not cp.resumed:
            wait_for_the_signal()
        note(item)
        cp.state["next"] = item + 1
        cp.tick()
"""

REMAINING = """
with checkpointed("job", every(hours=1), store=".") as cp:
    for item in cp.remaining(range(100)):
        if item == 41 and not cp.resumed:
            wait_for_the_signal()
        note(item)
"""

ASYNC = """
import asyncio
import LOOP

async def work(item):
    if item == 41 and not cp.resumed:
        print("send", flush=True)
    while item >= 41 and not cp.resumed and not heard():
        await asyncio.sleep(0.005)
    await asyncio.sleep(0)

async def remaining():
    async for item in cp.remaining(range(100)):
        await work(item)
        note(item)

async def amap():
    async for item, _ in cp.amap(work, range(100), max_in_flight=4):
        note(item)

async def main():
    global cp
    async with checkpointed("job", every(hours=1), store=".") as cp:
        await WAY()

LOOP.run(main())
"""


class Child:
    """A Python process that says on its output when it wants the next signal."""

    def __init__(self, program: str, directory: Path, **streams: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-c", HEAD + textwrap.dedent(program)],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def wait_for(self, line: str) -> None:
        assert self.lines.get(timeout=PATIENCE) == line

    def send_when_asked(self, number: int) -> None:
        self.wait_for("send")
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """The exit code, and what it wrote to stderr."""
        assert self.process.stderr is not None
        errors = self.process.stderr.read()
        return self.process.wait(PATIENCE), errors


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Any]:
    started: list[Child] = []

    def start(program: str, **streams: Any) -> Child:
        started.append(Child(program, tmp_path, **streams))
        return started[-1]

    yield start
    for child in started:
        child.process.kill()
        child.process.wait()
        for pipe in filter(None, (child.process.stdout, child.process.stderr)):
            pipe.close()


def done(directory: Path) -> list[int]:
    return [int(line) for line in (directory / "done").read_text().split()]


def document(directory: Path) -> dict[str, Any]:
    return json.loads((directory / ".checkpoint_job.json").read_text())


needs_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="how to get it: pip install uvloop")
each_signal = pytest.mark.parametrize(
    ("number", "exit_code", "reason"),
    [
        # The interpreter ends with the signal itself, which shells show as 130.
        pytest.param(signal.SIGINT, -signal.SIGINT, "Interrupted: KeyboardInterrupt", id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, "Interrupted: SIGTERM", id="SIGTERM"),
    ],
)


@each_signal
@pytest.mark.parametrize("program", [PLAIN, REMAINING], ids=["tick", "remaining"])
def test_semantics_8_the_current_item_ends_is_saved_and_nothing_is_done_again(
    program: str, number: int, exit_code: int, reason: str, children: Any, tmp_path: Path
) -> None:
    first = children(program)
    first.send_when_asked(number)
    code, errors = first.end()

    assert code == exit_code, errors
    assert done(tmp_path) == list(range(42))
    assert document(tmp_path)["metadata"]["processed_items"] == 42
    assert document(tmp_path)["metadata"]["last_save_reason"] == reason
    if number == signal.SIGINT:
        assert errors.rstrip().splitlines()[-2].startswith("KeyboardInterrupt")
        assert "'job' is saved at item 42; run again to go on" in errors

    code, errors = children(program).end()
    assert (code, errors) == (0, "")
    assert done(tmp_path) == list(range(100))
    assert not (tmp_path / ".checkpoint_job.json").exists()


@pytest.mark.slow
@each_signal
@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
@pytest.mark.parametrize("way", ["remaining", "amap"])
def test_async_programs_go_on_after_signals_and_do_nothing_again_that_was_done(
    way: str, loop: str, number: int, exit_code: int, reason: str, children: Any, tmp_path: Path
) -> None:
    program = ASYNC.replace("WAY", way).replace("LOOP", loop)
    first = children(program)
    first.send_when_asked(number)
    code, errors = first.end()
    before = done(tmp_path)

    assert code == exit_code, errors
    assert 38 <= len(before) < 100
    assert document(tmp_path)["metadata"]["processed_items"] == len(before)
    assert document(tmp_path)["metadata"]["last_save_reason"] == reason
    assert children(program).end() == (0, "")
    assert sorted(done(tmp_path)) == list(range(100))


@pytest.mark.slow
@each_signal
def test_semantics_8_the_second_signal_raises_at_once(
    number: int, exit_code: int, reason: str, children: Any, tmp_path: Path
) -> None:
    child = children(
        """
        with checkpointed("job", every(hours=1), store=".") as cp:
            for item in range(100):
                if item == 41:
                    wait_for_the_signal()
                    time.sleep(1.1)  # signals within a second are one wish
                    print("send", flush=True)
                    time.sleep(100)
                    note("never")
                note(item)
                cp.state["next"] = item + 1
                cp.tick()
        """
    )
    child.send_when_asked(number)
    child.send_when_asked(number)
    code, errors = child.end()

    assert code == exit_code, errors
    assert done(tmp_path) == list(range(41))
    assert document(tmp_path)["state"] == {"next": 41}
    assert document(tmp_path)["metadata"]["last_save_reason"] == reason


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_same_wish_that_comes_twice_at_once_lets_the_item_end(second: int, children: Any, tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to the whole group, and a supervisor passes it on to its child."""
    child = children(
        """
        from resumable._runtime import signals
        signals._ONE_WISH_SECONDS = 600.0

        with checkpointed("job", every(hours=1), store=".") as cp:
            for item in cp.remaining(range(5)):
                if item == 2:
                    wait_for_the_signal()
                    print("send", flush=True)
                    time.sleep(0.4)
                note(item)
        """
    )
    child.send_when_asked(signal.SIGINT)
    child.send_when_asked(second)
    code, errors = child.end()

    assert code == -signal.SIGINT, errors
    assert done(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize(
    ("number", "options", "reason"),
    [
        (signal.SIGHUP, "", "Interrupted: SIGHUP"),
        (signal.SIGUSR1, ", stop_signals=[signal.SIGUSR1]", "Interrupted: SIGUSR1"),
    ],
    ids=["SIGHUP", "SIGUSR1"],
)
def test_a_closed_terminal_and_signals_that_are_named_stop_the_run_after_its_item(
    number: int, options: str, reason: str, children: Any, tmp_path: Path
) -> None:
    first = children(REMAINING.replace('store="."', f'store="."{options}'))
    first.send_when_asked(number)
    code, errors = first.end()

    assert code == 128 + number, errors
    assert done(tmp_path) == list(range(42))
    assert document(tmp_path)["metadata"]["last_save_reason"] == reason


def test_under_nohup_a_closed_terminal_is_not_heard(children: Any, tmp_path: Path) -> None:
    child = children(
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with checkpointed("job", every(hours=1), store=".") as cp:
            for item in cp.remaining(range(5)):
                os.kill(os.getpid(), signal.SIGHUP)
                note(item)
        """
    )

    assert child.end() == (0, "")
    assert done(tmp_path) == list(range(5))


@pytest.mark.parametrize("call", ["cp.stop()", "resumable.stop()"])
def test_a_loop_in_a_thread_is_told_that_it_hears_no_signal_and_can_be_stopped(
    call: str, children: Any, tmp_path: Path
) -> None:
    child = children(
        f"""
        import resumable
        from threading import Event

        has_begun = Event()
        def work():
            global cp
            with checkpointed("job", every(hours=1), store=".") as cp:
                for item in cp.remaining(range(100_000)):
                    note(item)
                    has_begun.set()
                    time.sleep(0.01)

        thread = threading.Thread(target=work)
        thread.start()
        has_begun.wait()
        {call}
        thread.join()
        """
    )
    code, errors = child.end()

    assert code == 0
    assert "in a thread other than the main one, which Ctrl-C and SIGTERM do not reach" in errors
    assert 0 < len(done(tmp_path)) < 100_000
    assert document(tmp_path)["metadata"]["processed_items"] == len(done(tmp_path))
    assert document(tmp_path)["metadata"]["last_save_reason"] == "Interrupted: stop()"


def test_stop_in_the_main_thread_is_a_sigterm(tmp_path: Path) -> None:
    def work() -> None:
        with checkpointed("job", every(hours=1), store=tmp_path) as cp:
            for item in cp.remaining(range(5)):
                if item == 2:
                    stop()

    with pytest.raises(SystemExit) as caught:
        work()
    assert caught.value.code == 143
    assert json.loads((tmp_path / ".checkpoint_job.json").read_text())["metadata"]["processed_items"] == 3


@pytest.mark.slow
def test_sigterm_ends_the_wait_of_an_async_item_that_does_not_end(children: Any, tmp_path: Path) -> None:
    child = children(
        """
        import asyncio

        async def main():
            async with checkpointed("job", every(hours=1), store=".") as cp:
                async for item in cp.remaining(range(100)):
                    if item == 41:
                        print("send", flush=True)
                        await asyncio.sleep(100)
                    note(item)

        asyncio.run(main())
        """
    )
    child.send_when_asked(signal.SIGTERM)
    code, errors = child.end()

    assert code == 143, errors
    assert done(tmp_path) == list(range(41))
    assert document(tmp_path)["metadata"]["processed_items"] == 41
    assert document(tmp_path)["metadata"]["last_save_reason"] == "Interrupted: SIGTERM"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the end that a person sees, and the one that a program writes to."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        pytest.param(signal.SIGINT, "\nresumable: stopping after this item; Ctrl-C again stops at once\n", id="Ctrl-C"),
        pytest.param(signal.SIGTERM, "", id="SIGTERM"),
    ],
)
def test_at_a_terminal_ctrl_c_is_answered_while_the_item_goes_on(
    number: int, told: str, children: Any, terminal: tuple[int, int]
) -> None:
    person, program = terminal
    child = children(
        """
        with checkpointed("job", every(hours=1), store=".") as cp:
            for item in cp.remaining(range(3)):
                wait_for_the_signal()
                os.write(2, b"the item goes on")
                print("send", flush=True)
                time.sleep(100)
        """,
        stderr=program,
    )
    child.send_when_asked(number)
    child.wait_for("send")

    seen = ""
    while "goes on" not in seen:  # a terminal gives what it has
        seen += os.read(person, 1000).decode().replace("\r", "")
    assert seen == f"{told}the item goes on"


@each_signal
def test_semantics_8_a_signal_during_the_last_item_ends_the_program_and_keeps_what_is_done(
    number: int, exit_code: int, reason: str, children: Any, tmp_path: Path
) -> None:
    """There is no next tick to raise at; the program must not go on as if nobody had asked it to stop.

    What comes after the block was not done: the next run must get there without doing all items again.
    """
    program = """
        with checkpointed("job", every(hours=1), store=".") as cp:
            for item in cp.remaining(range(3)):
                if item == 2 and not cp.resumed:
                    wait_for_the_signal()
                note(item)
        print("what comes after the block", flush=True)
        """
    child = children(program)
    child.send_when_asked(number)
    code, errors = child.end()

    assert code == exit_code, errors
    assert child.lines.empty()
    assert done(tmp_path) == [0, 1, 2]
    assert document(tmp_path)["metadata"]["last_save_reason"] == reason
    assert "run again to go on" in errors or number == signal.SIGTERM

    child = children(program)
    assert child.end()[0] == 0
    assert child.lines.get_nowait() == "what comes after the block"
    assert done(tmp_path) == [0, 1, 2]
    assert not (tmp_path / ".checkpoint_job.json").exists()


@each_signal
def test_semantics_8_worker_threads_stop_at_their_ticks_and_the_block_is_not_done(
    number: int, exit_code: int, reason: str, children: Any, tmp_path: Path
) -> None:
    """The main thread only waits: without an error from a worker it would take the work for done."""
    child = children(
        """
        threading.excepthook = lambda _: None
        with checkpointed("job", every(hours=1), store=".") as cp:
            lock = threading.Lock()

            def work(worker):
                for item in range(1_000_000):
                    time.sleep(0.001)
                    with lock:
                        cp.state[str(worker)] = item + 1
                        cp.tick()
                    if worker == 0 and item == 5:
                        print("send", flush=True)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        """
    )
    child.send_when_asked(number)
    code, errors = child.end()

    assert code == exit_code, errors
    saved = document(tmp_path)
    assert saved["metadata"]["last_save_reason"] == reason
    assert saved["metadata"]["processed_items"] == sum(saved["state"].values())


@each_signal
def test_semantics_8_an_executor_hands_the_stop_on_to_the_main_thread(
    number: int, exit_code: int, reason: str, children: Any, tmp_path: Path
) -> None:
    child = children(
        """
        from concurrent.futures import ThreadPoolExecutor

        with checkpointed("job", every(hours=1), store=".") as cp:
            def work(item):
                if item == 100:
                    print("send", flush=True)
                time.sleep(0.001 if item < 500 else 0.2)
                cp.tick()

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(work, range(2_000)))
        """
    )
    child.send_when_asked(number)
    code, errors = child.end()

    assert code == exit_code, errors
    assert 0 < document(tmp_path)["metadata"]["processed_items"] < 2_000


def test_a_wait_for_the_quota_ends_at_once(children: Any, tmp_path: Path) -> None:
    child = children(
        """
        with checkpointed("job", every(hours=1), store=".") as cp:
            for item in cp.remaining(range(100)):
                note(item)
                if item == 9:
                    cp.observe(remaining=0, limit=10, reset_at=time.time() + 3600)
                    threading.Timer(0.3, lambda: print("send", flush=True)).start()
        """
    )
    child.send_when_asked(signal.SIGINT)
    code, errors = child.end()

    assert code == -signal.SIGINT, errors
    assert done(tmp_path) == list(range(10))
    assert document(tmp_path)["metadata"]["processed_items"] == 10


def test_a_handler_of_the_programs_own_is_respected(children: Any, tmp_path: Path) -> None:
    child = children(
        """
        heard_it = []
        signal.signal(signal.SIGINT, lambda *_: heard_it.append(1))
        heard = lambda: heard_it
        with checkpointed("job", every(hours=1), store=".") as cp:
            for item in cp.remaining(range(5)):
                if item == 2:
                    wait_for_the_signal()
                note(item)
        assert heard_it == [1]
        """
    )
    child.send_when_asked(signal.SIGINT)

    assert child.end() == (0, "")
    assert done(tmp_path) == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_worker_can_still_be_stopped(children: Any) -> None:
    """A pool sends SIGTERM to its workers and waits: one that only sets a flag would never end."""
    child = children(
        """
        with checkpointed("job", every(hours=1), store=".") as cp:
            ready, works = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(works, b".")
                time.sleep(60)
                os._exit(0)
            os.read(ready, 1)
            os.kill(pid, signal.SIGTERM)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        """
    )

    child.wait_for(str(-signal.SIGTERM))
    assert child.end() == (0, "")


# -- in this process --------------------------------------------------------------------------------------------------


@pytest.fixture
def _defaults() -> Iterator[None]:
    """The handlers of a program that has set none."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.usefixtures("_defaults")
@pytest.mark.parametrize("error", [None, ValueError], ids=["clean", "error"])
def test_handlers_are_put_back(error: type[Exception] | None) -> None:
    before = handlers()
    try:
        with checkpointed("outer", store=MemoryStore()):
            with checkpointed("inner", store=MemoryStore()):
                assert handlers() != before
            assert handlers() != before
            if error is not None:
                raise error
    except ValueError:
        pass

    assert handlers() == before


@pytest.mark.usefixtures("_defaults")
def test_a_handler_that_the_program_sets_in_the_block_stays() -> None:
    def mine(*_: Any) -> None: ...

    with checkpointed("job", store=MemoryStore()):
        signal.signal(signal.SIGTERM, mine)

    assert handlers() == [signal.default_int_handler, mine]


@pytest.mark.usefixtures("_defaults")
def test_a_block_in_another_thread_sets_no_handlers() -> None:
    before, seen = handlers(), []

    def work() -> None:
        with checkpointed("job", store=MemoryStore()) as cp:
            cp.tick()
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [before]


@pytest.mark.usefixtures("_defaults")
def test_nested_blocks_are_both_saved() -> None:
    manager = CheckpointManager(store=MemoryStore(), save_strategy=every(hours=1))

    def work() -> None:
        with checkpointed("outer", manager=manager) as outer, checkpointed("inner", manager=manager) as inner:
            outer.tick(2)
            inner.tick()
            signal.raise_signal(signal.SIGINT)
            inner.tick()

    with pytest.raises(KeyboardInterrupt):
        work()

    for name, items in (("outer", 2), ("inner", 2)):
        data = manager.load_checkpoint(name)
        assert data is not None
        assert data.metadata.processed_items == items
    assert signals.wish.number is None


class Waiting(dict[str, bytes]):
    """A store whose saves wait for *other*."""

    def __init__(self, other: threading.Event) -> None:
        self.other = other

    def put(self, key: str, blob: bytes) -> None:
        assert self.other.wait(PATIENCE)
        self[key] = blob

    def delete(self, key: str) -> None:
        del self[key]

    def close(self) -> None: ...


@pytest.mark.usefixtures("_defaults")
def test_a_block_that_ctrl_c_left_does_not_stop_one_that_ends_meanwhile() -> None:
    ended = threading.Event()
    store = Waiting(ended)
    is_closing = asyncio.Event()

    async def interrupted() -> None:
        async with checkpointed("left", store=store) as cp:
            cp.state["x"] = 1
            is_closing.set()
            raise KeyboardInterrupt

    async def leave() -> None:
        with pytest.raises(KeyboardInterrupt):
            await interrupted()

    async def end() -> None:
        async with checkpointed("other", store=MemoryStore()):
            await is_closing.wait()
        ended.set()

    async def both() -> None:
        await asyncio.gather(leave(), end())

    asyncio.run(both())
    assert store


@pytest.mark.usefixtures("_defaults")
def test_a_signal_that_an_error_overtook_does_not_stop_the_next_block() -> None:
    with pytest.raises(ValueError), checkpointed("job", store=MemoryStore()):  # noqa: PT011, PT012
        signal.raise_signal(signal.SIGINT)
        raise ValueError

    with checkpointed("next", store=MemoryStore()) as cp:
        cp.tick()


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        pytest.param(signal.SIGKILL, ValueError, "no program can hear SIGKILL", id="a kill"),
        pytest.param(9999, ValueError, "this machine has no signal 9999", id="no signal"),
        pytest.param("SIGUSR1", TypeError, "a signal is a number such as signal.SIGUSR1", id="a text"),
    ],
)
def test_a_stop_signal_that_nobody_can_hear_is_refused(number: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        checkpointed("job", stop_signals=[number], store=MemoryStore())
