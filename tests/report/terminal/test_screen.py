"""What a person sees: the bar below, all that the program writes above it, nothing torn and nothing said twice."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.terminal import Finished, run

widths = pytest.mark.parametrize("width", [50, 80, 120])

LOOP = """
import logging, sys, time, warnings
from resumable import checkpointed, every
SETUP
with checkpointed("bar", every(items=10), store=".", progress=True) as cp:
    INSIDE
    for x in cp.remaining(range(30)):
        time.sleep(0.03)
        if x % 5 == 0:
            SAY
"""


def looped(setup: str, say: str, inside: str = "pass") -> str:
    return LOOP.replace("SETUP", setup).replace("SAY", say).replace("INSIDE", inside)


WAYS = {
    "print": ("", 'print(f"line {x} of the program")', "line {} of the program"),
    "print to stderr": ("", 'print(f"line {x}", file=sys.stderr)', "line {}"),
    "bytes": ("", 'sys.stdout.buffer.write(b"line %d\\n" % x); sys.stdout.flush()', "line {}"),
    "logging": ("logging.basicConfig(level=logging.INFO)", 'logging.info("line %d", x)', "INFO:root:line {}"),
    "logging on stdout": (
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout)",
        'logging.info("line %d", x)',
        "INFO:root:line {}",
    ),
    "bound method": ("write = sys.stdout.write", 'write(f"line {x}\\n")', "line {}"),
    "in pieces": ("", 'print("line", end="", flush=True); print("", x, flush=True)', "line {}"),
    "rich": (
        'from rich.logging import RichHandler\nlogging.basicConfig(level=logging.INFO, format="%(message)s", '
        "handlers=[RichHandler(show_time=False, show_path=False)])",
        'logging.info("line %d", x)',
        "INFO     line {}",
    ),
    "loguru": (
        'from loguru import logger\nlogger.remove()\nlogger.add(sys.stderr, format="{message}")',
        'logger.info(f"line {x}")',
        "line {}",
    ),
    "structlog": (
        "import structlog\nstructlog.configure(processors=[structlog.processors.KeyValueRenderer()], "
        "cache_logger_on_first_use=True)\nlog = structlog.get_logger()\nlog.info('first')",
        'log.info(f"line {x}")',
        "event='line {}'",
    ),
}


FAST = ("logging", 80)
REST = [*((way, 80) for way in WAYS), *((way, 50) for way in WAYS if "log" in way), ("print", 120)]
EACH = [FAST, *(pytest.param(*one, marks=pytest.mark.slow) for one in REST if one != FAST)]


@pytest.mark.slow
@pytest.mark.parametrize(("way", "width"), EACH)
def test_each_line_of_the_program_stands_whole_above_the_bar(way: str, width: int, tmp_path: Path) -> None:
    setup, say, line = WAYS[way]
    if way in ("rich", "loguru", "structlog"):
        pytest.importorskip(way)

    ended = run(looped(setup, say), tmp_path, width=width)

    assert ended.code == 0
    seen = [line.format(x) for x in range(0, 30, 5)]
    assert [one for one in ended.screen if "line" in one] == seen
    assert ended.screen[-1].startswith("bar: 30 of 30 in ")
    assert "━" in ended.written


@pytest.mark.slow
def test_a_handler_that_is_made_in_the_block_writes_above_too(tmp_path: Path) -> None:
    inside = "logging.basicConfig(level=logging.INFO)"

    ended = run(looped("", 'logging.info("line %d", x)', inside), tmp_path)

    assert [one for one in ended.screen if "line" in one] == [f"INFO:root:line {x}" for x in range(0, 30, 5)]


@pytest.mark.slow
def test_python_without_buffers_changes_nothing(tmp_path: Path) -> None:
    ended = run(looped("", 'print("line", x, "said")'), tmp_path, environ={"PYTHONUNBUFFERED": "1"})

    assert [one for one in ended.screen if "line" in one] == [f"line {x} said" for x in range(0, 30, 5)]


@pytest.mark.slow
def test_lines_longer_than_the_terminal_stay_whole(tmp_path: Path) -> None:
    ended = run(looped("", 'print("a" * 75 + f" line {x:>3} " + "b" * 75)'), tmp_path, width=50)

    assert "".join(ended.screen).count("b" * 75) == 6
    assert len([one for one in ended.screen if one == "a" * 50]) == 6


@pytest.mark.slow
def test_warnings_and_tracebacks_stand_above(tmp_path: Path) -> None:
    say = 'warnings.warn(f"careful {x}") if x < 20 else 1 / 0'

    ended = run(looped("", say), tmp_path)

    assert "".join(ended.screen).count("UserWarning: careful") == 4
    *_, words, trace = ended.text.partition("bar: 20 of 30 in ")[2].partition("Traceback")
    assert words
    assert trace.rstrip().endswith(
        "ZeroDivisionError: division by zero\n"
        "resumable: at x 21 of 30 (20)\nresumable: 'bar' is saved at item 20; run again to go on"
    )


@pytest.mark.slow
def test_a_log_file_gets_the_last_words_too(tmp_path: Path) -> None:
    setup = 'logging.basicConfig(level=logging.INFO, filename="log")'

    ended = run(looped(setup, "pass"), tmp_path)

    assert ended.screen[-1] in (tmp_path / "log").read_text()
    assert ended.text.count("30 of 30") == 1


@pytest.mark.slow
def test_another_bar_inside_keeps_its_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tqdm")
    program = """
import time
from tqdm import tqdm
from resumable import checkpointed, every
with checkpointed("bar", every(items=10), store=".", progress=True) as cp:
    for x in cp.remaining(range(3)):
        for y in tqdm(range(20), desc=f"inner {x}", mininterval=0):
            time.sleep(0.01)
"""
    ended = run(program, tmp_path)

    assert [one[:13] for one in ended.screen if "inner" in one] == [f"inner {x}: 100%" for x in range(3)]
    assert len(ended.screen) <= 6


@pytest.mark.slow
def test_the_users_own_two_bars_stay_where_they_are(tmp_path: Path) -> None:
    pytest.importorskip("tqdm")
    program = """
import time
from tqdm import tqdm
from resumable import checkpointed, every
with checkpointed("bar", every(items=10), store=".", progress=True) as cp:
    for x in cp.remaining(range(3)):
        time.sleep(0.3)
        for y in tqdm(range(3), desc="outer", mininterval=0):
            for z in tqdm(range(5), desc="inner", mininterval=0, position=1, leave=False):
                time.sleep(0.01)
        print("done", x)
"""
    ended = run(program, tmp_path)

    assert [one[:11] for one in ended.screen if "outer" in one] == ["outer: 100%"] * 3
    assert [one for one in ended.screen if "done" in one] == [f"done {x}" for x in range(3)]


@pytest.mark.parametrize(
    ("environ", "shown", "hidden"),
    [
        pytest.param({"NO_COLOR": "1"}, "━", "\x1b[32m", id="no colour"),
        pytest.param({"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, "===", "━", id="no Unicode"),
        pytest.param({"TERM": "dumb"}, "bar: 30 of 30 in ", "\r\x1b", id="dumb"),
        pytest.param({"TERM": None}, " 0/30", "\x1b", id="nothing known of the terminal"),
    ],
)
@pytest.mark.slow
def test_a_terminal_gets_what_it_can_show(
    environ: dict[str, str | None], shown: str, hidden: str, tmp_path: Path
) -> None:
    ended = run(looped("", 'print("line", x)'), tmp_path, environ=environ)

    assert ended.code == 0
    assert shown in ended.written
    assert hidden not in ended.written
    assert [one for one in ended.screen if "line" in one] == [f"line {x}" for x in range(0, 30, 5)]
    assert ended.screen[-1].startswith("bar: 30 of 30 in ")


@pytest.mark.slow
def test_a_program_that_was_killed_leaves_a_usable_terminal(tmp_path: Path) -> None:
    say = "import os; os.kill(os.getpid(), 9) if x == 25 else print(x)"

    ended = run(looped("", say), tmp_path)

    assert ended.code == -signal.SIGKILL
    assert "\x1b[?" not in ended.written


# -- several loops, several blocks

TWO = """
import time
from resumable import checkpointed, every
with checkpointed("two", every(items=10), store=".", progress=True) as cp:
    for x in cp.remaining(range(30), name="download"):
        time.sleep(0.03)
    for x in cp.remaining(range(50), name="convert"):
        time.sleep(0.02)
"""
NESTED = """
import time
from resumable import checkpointed, every
with checkpointed("nested", every(items=10), store=".", progress=True) as cp:
    for epoch in cp.remaining(range(4)):
        for step in cp.remaining(range(20)):
            time.sleep(0.02)
"""


def percentages(ended: Finished) -> list[int]:

    return [int(number) for number in re.findall(r" (\d+)%", ended.written)]


@pytest.mark.slow
def test_two_loops_are_named_each_with_its_count(tmp_path: Path) -> None:
    ended = run(TWO, tmp_path)

    assert "download 30/30 · convert " in ended.written
    assert percentages(ended) == sorted(percentages(ended))
    assert ended.screen[-1].startswith("two: 80 of 80 in ")


@pytest.mark.slow
def test_nested_loops_are_named_each_with_its_count(tmp_path: Path) -> None:
    ended = run(NESTED, tmp_path)

    assert "epoch 2/4 · step " in ended.written
    assert "epoch 4/4 · step " in ended.written
    assert percentages(ended) == sorted(percentages(ended))
    assert percentages(ended)[-1] > 80
    assert ended.screen[-1].startswith("nested: epoch 4 of 4 in ")


@widths
@pytest.mark.slow
def test_blocks_inside_a_block_have_lines_of_their_own(width: int, tmp_path: Path) -> None:
    program = """
import time
from resumable import checkpointed, every
with checkpointed("outer", every(items=10), store=".", progress=True) as cp:
    for x in cp.remaining(range(3)):
        with checkpointed(f"inner{x}", every(items=10), store=".", progress=True) as inner:
            for y in inner.remaining(range(20)):
                time.sleep(0.02)
        print("printed", x)
"""
    ended = run(program, tmp_path, width=width)

    assert [one for one in ended.screen if "printed" in one] == [f"printed {x}" for x in range(3)]
    assert [one.partition(" in ")[0] for one in ended.screen if " in " in one and "new" not in one] == [
        *(f"inner{x}: 20 of 20" for x in range(3)),
        "outer: 3 of 3",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
@pytest.mark.parametrize(
    ("method", "unbuffered"), [("fork", None), ("fork", "1"), ("spawn", None), ("forkserver", None)]
)
@pytest.mark.slow
def test_what_workers_print_stands_above(method: str, unbuffered: str | None, tmp_path: Path) -> None:
    program = f"""
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from resumable import checkpointed, every
def work(x):
    time.sleep(0.03)
    if x % 5 == 0:
        print("worker", x, "\\nand on", x)
    return x
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with checkpointed("pool", every(items=10), store=".", progress=True) as cp:
        for x, y in cp.map(work, range(40), executor=lambda: ProcessPoolExecutor(1, mp_context=context)):
            pass
"""
    ended = run(program, tmp_path, environ={"PYTHONUNBUFFERED": unbuffered})

    told = [f"{words} {x}" for x in range(0, 40, 5) for words in ("worker", "and on")]
    assert ended.screen[:-1] == told
    assert ended.screen[-1].startswith("pool: 40 of 40 in ")


@pytest.mark.slow
def test_items_that_failed_are_told_at_the_end(tmp_path: Path) -> None:
    program = """
from resumable import checkpointed
def work(x):
    if x % 10 == 3:
        raise ValueError(x)
with checkpointed("crawl", store=".", progress=True) as cp:
    list(cp.map(work, range(40), on_error="skip"))
"""
    ended = run(program, tmp_path)

    assert ended.screen[-1].startswith("crawl: 36 of 40 in ")
    assert ended.screen[-1].endswith("4 failed: resumable show crawl") or "4 failed: resumable show" in ended.text


# -- Ctrl-C

SYNC = """
import logging, time
from resumable import checkpointed, every
SETUP
def main():
    with checkpointed("job", every(items=10), progress=True) as cp:
        for x in cp.remaining(range(20_000)):
            time.sleep(0.03)
            if x == 10:
                print("ready", flush=True)
try:
    main()
finally:
    print("left")
"""
ASYNC = """
import asyncio
from resumable import checkpointed, every
async def main():
    async with checkpointed("job", every(items=10), progress=True) as cp:
        async for x in cp.remaining(range(20_000)):
            await asyncio.sleep(0.03)
            if x == 10:
                print("ready", flush=True)
asyncio.run(main())
"""
AMAP = """
import asyncio
from resumable import checkpointed, every
async def work(x):
    await asyncio.sleep(0.1)
async def main():
    async with checkpointed("job", every(items=10), progress=True) as cp:
        async for x, y in cp.amap(work, range(20_000), max_in_flight=5):
            if x == 10:
                print("ready", flush=True)
asyncio.run(main())
"""
POOL = """
import time
from concurrent.futures import KINDPoolExecutor
from resumable import checkpointed, every
def work(x):
    time.sleep(0.03)
    return x
def main():
    with checkpointed("job", every(items=10), progress=True) as cp:
        for x, y in cp.map(work, range(20_000), executor=lambda: KINDPoolExecutor(2)):
            if x == 10:
                print("ready", flush=True)
if __name__ == "__main__":
    main()
"""
DECORATED = """
import time
import tenacity
from resumable import Checkpoint, resumable
@resumable(operation_id="job", progress=True, retry=tenacity.Retrying(wait=tenacity.wait_fixed(30)))
def job(cp: Checkpoint):
    for x in cp.remaining(range(20_000)):
        if x == 10:
            print("ready", flush=True)
            raise ConnectionError
job()
"""
SHORT_FORM = """
import time
import resumable
for x in resumable.loop(range(20_000), "job", progress=True):
    time.sleep(0.03)
    if x == 10:
        print("ready", flush=True)
"""
TWO_THREADS = """
import threading, time
from resumable import checkpointed
with checkpointed("job", progress=True) as cp:
    def work(name):
        for x in cp.remaining(range(20_000), name=name):
            time.sleep(0.03)
            if x == 10 and name == "a":
                print("ready", flush=True)
    threads = [threading.Thread(target=work, args=name) for name in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
"""
GATHERED = """
import asyncio
from resumable import checkpointed
async def main():
    async with checkpointed("job", progress=True) as cp:
        async def work(name):
            async for x in cp.remaining(range(20_000), name=name):
                await asyncio.sleep(0.03)
                if x == 10 and name == "a":
                    print("ready", flush=True)
        await asyncio.gather(work("a"), work("b"))
asyncio.run(main())
"""
LAST_MOMENT = """
import time
from resumable import checkpointed
from resumable._runtime import signals
with checkpointed("job", progress=True) as cp:
    for x in cp.remaining(range(20)):
        pass
    if not cp.resumed:
        print("ready", flush=True)
        while signals.wish.number is None:
            time.sleep(0.02)
"""
PROGRAMS = {
    "loop": SYNC.replace("SETUP", ""),
    "logging": SYNC.replace("SETUP", "logging.basicConfig(level=logging.INFO)"),
    "asyncio": ASYNC,
    "amap": AMAP,
    "threads": POOL.replace("KIND", "Thread"),
    "processes": POOL.replace("KIND", "Process"),
    "decorated": DECORATED,
    "short form": SHORT_FORM,
    "two threads": TWO_THREADS,
    "gathered": GATHERED,
    "uvloop": GATHERED.replace("asyncio.run(", "uvloop.run(").replace("import asyncio", "import asyncio, uvloop"),
    "last moment": LAST_MOMENT,
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "logging" else pytest.mark.slow) for kind in PROGRAMS]
)
def test_ctrl_c_ends_with_one_box_below_a_traceback_of_the_users_frames(kind: str, tmp_path: Path) -> None:
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    ended = run(PROGRAMS[kind], tmp_path, interrupt_at="ready", key=b"\x03")

    assert ended.code == -signal.SIGINT
    *above, go_on, look, start_over = ended.screen
    assert (go_on[:14], look, start_over) == (
        "  go on       ",
        "  look        resumable show job",
        "  start over  resumable rm job",
    )
    assert above[-1].startswith("job: stopped at ")
    assert ended.text.count("stopped at") == ended.text.count("resumable show job") == 1
    assert ended.text.count("Traceback") == ended.text.count("KeyboardInterrupt") == 1
    assert ended.text.count("stopping after this item") == 1
    assert "is saved at item" not in ended.text
    files = [one.split('"')[1] for one in ended.text.replace("\n", "").split("File ")[1:]]
    assert files[-1].endswith("job.py")
    assert not [file for file in files if "/resumable/_" in file]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_ctrl_c_while_a_block_opens_shows_the_users_frames(kind: str, tmp_path: Path) -> None:
    program = """
import asyncio, time
from resumable import checkpointed
main_task = None
class Slow(dict):
    def get(self, key):
        print("ready", flush=True)
        while not (main_task and main_task.cancelling()):  # until Ctrl-C
            time.sleep(0.02)
    def put(self, key, blob):
        self[key] = blob
    def delete(self, key):
        return self.pop(key, None) is not None
    def close(self):
        pass
def plain():
    with checkpointed("job", store=Slow(), progress=True):
        pass
async def main():
    global main_task
    main_task = asyncio.current_task()
    async with checkpointed("job", store=Slow(), progress=True):
        await asyncio.sleep(9)
"""
    ended = run(
        program + ("plain()" if kind == "plain" else "asyncio.run(main())"), tmp_path, interrupt_at="ready", key=b"\x03"
    )

    assert ended.code == -signal.SIGINT
    assert ended.text.count("Traceback") == ended.text.count("KeyboardInterrupt") == 1
    assert "/resumable/_" not in ended.text.replace("\n", "")
    assert "nothing is lost" not in ended.text


@pytest.mark.slow
def test_a_stop_at_the_end_of_a_block_leaves_nothing_to_warn_of(tmp_path: Path) -> None:
    run(PROGRAMS["last moment"], tmp_path, interrupt_at="ready", key=b"\x03")

    second = run(PROGRAMS["last moment"], tmp_path)

    assert [one.partition(" in ")[0].partition(";")[0].partition(". ")[0] for one in second.screen] == [
        "job: going on at 20 of 20",
        "job: 20 of 20",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [b"\x03", b"\x03\x03"], ids=["once", "twice"])
def test_workers_that_are_just_being_started_say_nothing_at_ctrl_c(moment: bytes, tmp_path: Path) -> None:
    program = """
import multiprocessing, time
if __name__ != "__mp_main__":
    from concurrent.futures import ProcessPoolExecutor
    from resumable import checkpointed
else:
    time.sleep(1)
def work(x):
    return x
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with checkpointed("job", progress=True) as cp:
        for x, y in cp.map(work, range(50), executor=lambda: ProcessPoolExecutor(2, mp_context=context)):
            time.sleep(1)
"""
    ended = run(program, tmp_path, interrupt_at=" 0/50", key=moment)

    assert ended.code == -signal.SIGINT
    assert ended.text.count("Traceback") == ended.text.count("KeyboardInterrupt") == 1
    assert ended.text.count("stopping after this item") == ended.text.count("job: stopped at ") == 1


@pytest.mark.slow
def test_sigterm_says_where_it_stopped_and_how_to_go_on(tmp_path: Path) -> None:
    ended = run(PROGRAMS["loop"], tmp_path, interrupt_at="ready", by=signal.SIGTERM)

    assert ended.code == 143
    assert ended.text.count("job: stopped at ") == 1
    assert "Traceback" not in ended.text


@pytest.mark.slow
def test_sigterm_in_a_block_inside_another_ends_with_one_box(tmp_path: Path) -> None:
    program = """
import time
from resumable import checkpointed
with checkpointed("outer") as cp:
    for x in cp.remaining(range(3)):
        with checkpointed("inner") as inner:
            for y in inner.remaining(range(20_000)):
                time.sleep(0.03)
                if y == 5:
                    print("ready", flush=True)
"""
    ended = run(program, tmp_path, interrupt_at="ready", by=signal.SIGTERM)

    assert ended.code == 143
    assert ended.text.count("stopped at") == 2
    assert ended.text.count("  go on ") == ended.text.count("resumable show outer") == 1
    assert "resumable show inner" not in ended.text


@pytest.mark.slow
def test_a_second_ctrl_c_is_named_in_the_next_run(tmp_path: Path) -> None:
    program = """
import asyncio, os, signal, time
from resumable import checkpointed, every
async def main():
    async with checkpointed("job", every(items=1), store=".") as cp:
        async for x in cp.remaining(range(10)):
            if x == 3 and not os.path.exists("second"):
                open("second", "w").close()
                signal.raise_signal(signal.SIGINT)
                time.sleep(1.1)
                signal.raise_signal(signal.SIGINT)
asyncio.run(main())
"""
    first = run(program, tmp_path)
    second = run(program, tmp_path)

    assert first.code == -signal.SIGINT
    assert "of 10. Run 2; run 1 stopped " in second.text.replace("\n", " ")
    assert "by Ctrl-C." in second.text


@pytest.mark.slow
def test_what_another_program_writes_is_never_taken_away(tmp_path: Path) -> None:
    program = """
import subprocess, time
from resumable import checkpointed
with checkpointed("bar", store=".", progress=True) as cp:
    for x in cp.remaining(range(6)):
        time.sleep(0.25)
        subprocess.run(["sh", "-c", f"echo first {x}; echo second {x}; echo third {x}"])
"""
    ended = run(program, tmp_path, width=120)

    for word in ("first", "second", "third"):
        assert [x for x in range(6) if f"{word} {x}" not in ended.text] == []


@pytest.mark.slow
def test_a_wait_without_a_bar_counts_down_below_what_is_printed(tmp_path: Path) -> None:
    program = """
import threading, time
from resumable import checkpointed
def talk():
    for x in range(5):
        time.sleep(0.2)
        print("said", x)
with checkpointed("quota", store=".") as cp:
    for x in cp.remaining(range(2)):
        if x == 0:
            cp.observe(remaining=0, limit=3, reset_at=time.time() + 4)
            thread = threading.Thread(target=talk)
            thread.start()
    thread.join()
"""
    ended = run(program, tmp_path, width=120)

    assert "quota: waiting 0:0" in ended.written
    assert ended.screen == [f"said {x}" for x in range(5)]
