"""After an edit a loop goes on where it was left, or the run is refused: it never takes the place of another one."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from resumable import CheckpointManager, InputChangedError, checkpointed, every
from resumable.testing import MemoryStore


class Stop(Exception):
    """What leaves a block in these tests."""


@pytest.fixture
def manager() -> CheckpointManager:
    return CheckpointManager(store=MemoryStore(), save_strategy=every(hours=1000))


HEAD = "def work(cp, do, urls, pages):\n    "
LOOP = "for u in cp.remaining({}):\n        do(u)\n    "
BEFORE = HEAD + LOOP.format("urls")
TWO = BEFORE + LOOP.format("pages")
WRAPPED = HEAD + "for part in cp.remaining(['all']):\n        for u in cp.remaining(urls):\n            do(u)\n"
IN_CLASS = """
class Job:
    def __init__(self, cp, do):
        self.cp, self.do = cp, do
    def run(self, urls):
        for u in self.cp.remaining(urls):
            self.do(u)
def work(cp, do, urls, pages):
    Job(cp, do).run(urls)
"""


def run_text(manager: CheckpointManager, text: str, stop: str = "", pages: str = "wxyz") -> str:
    """What the function in *text* does, up to *stop*."""
    done: list[str] = []

    def do(item: str) -> None:
        if item == stop:
            raise Stop
        done.append(item)

    scope: dict[str, Any] = {"__name__": "job"}
    exec(text, scope)
    with contextlib.suppress(Stop), checkpointed("job", manager=manager) as cp:
        (scope.get("work") or scope["job"])(cp, do, list("abcd"), list(pages))
    return "".join(done)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(BEFORE, id="the same"),
        pytest.param(HEAD + "# a remark\n    x = [n for n in urls]\n    " + LOOP.format("\n    urls, "), id="layout"),
        pytest.param(HEAD + LOOP.format("pages[:0]") + LOOP.format("urls"), id="another loop before it"),
        pytest.param(HEAD + LOOP.format("sorted(urls)"), id="the line is edited"),
        pytest.param(HEAD + LOOP.format("list('abcd'), fingerprint='full'"), id="nothing is left of the line"),
        pytest.param(BEFORE.replace("work", "job"), id="the function has another name"),
        pytest.param(IN_CLASS, id="in a method"),
        pytest.param(HEAD + LOOP.format("urls, name='all'"), id="it is given a name"),
        pytest.param(BEFORE.replace("    for", "    if urls:\n     for").replace("do(u)", " do(u)"), id="deeper"),
    ],
)
def test_a_block_with_one_loop_goes_on_after_an_edit(after: str, manager: CheckpointManager) -> None:
    assert run_text(manager, BEFORE, "c") == "ab"
    assert run_text(manager, after) == "cd"
    assert manager.list_checkpoints() == []


def test_another_input_in_the_only_loop_is_refused(manager: CheckpointManager) -> None:
    run_text(manager, BEFORE, "c")

    with pytest.raises(InputChangedError):
        run_text(manager, HEAD + LOOP.format("pages"))


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(
            HEAD + LOOP.format("list(map(str, urls))") + LOOP.format("list(map(str, pages))"), id="both lines"
        ),
        pytest.param(HEAD + LOOP.format("urls") + LOOP.format("list('wxyz')"), id="one of two, unlike"),
    ],
)
def test_where_several_loops_could_be_meant_the_run_is_refused_and_names_tell(
    after: str, manager: CheckpointManager
) -> None:
    assert run_text(manager, TWO, "y") == "abcdwx"

    with pytest.raises(InputChangedError, match="it is not known which loop is which") as raised:
        run_text(manager, after)

    assert "if it is the loop 'loop-2' of before, go on there:  name='loop-2'" in raised.value.ways_out
    named = HEAD + LOOP.format("list(urls), name='loop-1'") + LOOP.format("list(pages), name='loop-2'")
    assert run_text(manager, named) == "yz"


IN_FUNCTION = f"def each(cp, do, urls):\n    {LOOP.format('urls')}\n{HEAD}each(cp, do, urls)\n"


@pytest.mark.parametrize(
    ("before", "after", "depth"),
    [
        pytest.param(BEFORE, WRAPPED, "had no loop around it", id="a loop is put around it"),
        pytest.param(WRAPPED, IN_FUNCTION, "was inside of another loop", id="the loop around it is taken away"),
        pytest.param(
            WRAPPED,
            IN_CLASS.replace("self.cp.rem", "cp.rem")
            .replace("run(self,", "run(self, cp,")
            .replace("run(urls)", "run(cp, urls)"),
            "was inside of another loop",
            id="and it is in a method",
        ),
    ],
)
def test_a_loop_at_another_depth_is_refused_before_its_items_are_done_again(
    before: str, after: str, depth: str, manager: CheckpointManager
) -> None:
    assert run_text(manager, before, "c") == "ab"

    for _ in range(2):
        with pytest.raises(InputChangedError, match=f"left after 2 items of 4, {depth}"):
            run_text(manager, after)
    assert run_text(manager, before) == "cd"


def test_an_inner_loop_is_told_if_its_outer_loop_is_left_out_in_its_first_item(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    both = WRAPPED.replace("    for part", "    if pages:\n     for part").replace("        ", "         ")
    assert run_text(manager, both, "c") == "ab"

    assert run_text(manager, both, pages="") == ""
    assert "did not reach the loop 'loop-1/1', `cp remaining urls` in work, left after 2 items of 4" in caplog.text
    assert run_text(manager, both) == "cd"
    assert manager.list_checkpoints() == []


def test_one_line_of_two_that_is_edited_goes_on(manager: CheckpointManager, caplog: pytest.LogCaptureFixture) -> None:
    run_text(manager, TWO, "y")

    assert run_text(manager, HEAD + LOOP.format("urls") + LOOP.format("sorted(pages)")) == "yz"
    assert "goes on where the loop `cp pages remaining` in work was left" in caplog.text


def test_a_loop_that_was_taken_out_is_told(manager: CheckpointManager, caplog: pytest.LogCaptureFixture) -> None:
    run_text(manager, TWO, "y")

    assert run_text(manager, BEFORE) == ""
    assert "did not reach the loop 'loop-2', `cp pages remaining` in work, left after 2 items of 4" in caplog.text


# -- several loops that the checkpoint does not know ------------------------------------------------------------------

FETCH = """
def fetch(cp, do, items):
    for i in cp.remaining(items):
        do(i)
"""
IN_FUNCTIONS = """
def first(cp, do, urls):
    for u in cp.remaining(urls):
        do(u)

def second(cp, do, pages):
    for p in cp.remaining(pages):
        do(p)

def work(cp, do, urls, pages):
    first(cp, do, urls)
    second(cp, do, pages)
"""

METHOD = """
    def {}(self, urls):
        for u in self.cp.remaining(urls):
            self.do(u)"""
IN_METHODS = f"""
class Job:
    def __init__(self, cp, do):
        self.cp, self.do = cp, do
{METHOD.format("first")}
{METHOD.format("second")}
class Other(Job):
    pass
def work(cp, do, urls, pages):
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            IN_FUNCTIONS,
            IN_FUNCTIONS.replace("(urls):\n", "(list(map(str, urls))):\n").replace("    first(cp, do, urls)\n", ""),
            id="in another function",
        ),
        pytest.param(
            FETCH + HEAD + "fetch(cp, do, urls); fetch(cp, do, pages)",
            FETCH + HEAD + "if not urls: fetch(cp, do, list(urls))\n    fetch(cp, do, pages)",
            id="by another call of one function",
        ),
        pytest.param(
            BEFORE,
            HEAD + "if not urls: cp.remaining(sorted(urls))\n    " + LOOP.format("list(pages)"),
            id="two new lines",
        ),
        pytest.param(
            FETCH + BEFORE,
            FETCH
            + HEAD
            + "steps = [fetch]\n    if not urls: steps[0](cp, do, urls)\n    "
            + LOOP.format("list(pages)"),
            id="one may be called",
        ),
        pytest.param(
            BEFORE + LOOP.format("pages[:0]"),
            HEAD + LOOP.format("list(pages)") + "if not urls: cp.remaining(list(urls))",
            id="one of two lines is new",
        ),
        pytest.param(
            BEFORE + LOOP.format("urls").replace("do(u)", "do(u.lower())"),
            HEAD + LOOP.format("urls").replace("do(u)", "do(u.lower())"),
            id="one of two equal lines is gone",
        ),
        pytest.param(
            IN_METHODS + "    Job(cp, do).first(urls)\n    Job(cp, do).second(urls)\n",
            IN_METHODS + "    Other(cp, do).second(urls)\n    Other(cp, do).first(urls)\n",
            id="the class that makes both has another name",
        ),
    ],
)
def test_no_loop_goes_on_where_another_one_could_have_been_left(
    before: str, after: str, manager: CheckpointManager
) -> None:
    """All inputs are equal, so that only the place can tell."""
    run_text(manager, before, "d", pages="abcd")

    with contextlib.suppress(InputChangedError):
        assert run_text(manager, after, pages="abcd") == "abcd"


UPPER, LOWER = (LOOP.format("urls").replace("do(u)", f"do(u.{name}())") for name in ("upper", "lower"))


def test_equal_lines_with_other_bodies_that_change_places_are_refused(manager: CheckpointManager) -> None:
    assert run_text(manager, HEAD + UPPER + LOWER, "C") == "AB"

    with pytest.raises(InputChangedError, match=r"number 1 of 2 such lines, .* another such line stands there now"):
        run_text(manager, HEAD + LOWER + UPPER)

    edited = HEAD + UPPER.replace("upper()", "upper().strip()") + LOWER
    assert run_text(manager, edited) == "CDabcd"


def test_a_finished_loop_does_not_leave_out_what_a_new_line_gives(manager: CheckpointManager) -> None:
    run_text(manager, BEFORE + "do('end')", "end")

    with pytest.raises(InputChangedError, match="nothing was done") as raised:
        run_text(manager, HEAD + LOOP.format("[*'abcd']"))

    assert "name='loop-1'" in str(raised.value)


def test_the_line_of_a_finished_loop_may_be_edited(manager: CheckpointManager) -> None:
    run_text(manager, BEFORE + "do('end')", "end")

    assert run_text(manager, HEAD + LOOP.format("sorted(urls)") + "do('end')") == "end"


def test_the_only_loop_may_move_into_another_function(manager: CheckpointManager) -> None:
    assert run_text(manager, BEFORE, "c") == "ab"
    assert run_text(manager, FETCH + HEAD + "fetch(cp, do, urls)") == "cd"


def test_a_generator_goes_on_in_another_block_that_uses_it_alike(manager: CheckpointManager) -> None:
    uses = (
        FETCH.replace("do(i)", "yield i") + "def use(cp, do, urls):\n    for i in fetch(cp, do, urls):\n        do(i)\n"
    )
    before, after = (f"{uses}def {name}(cp, do, urls, pages):\n    use(cp, do, urls)\n" for name in ("work", "job"))

    assert run_text(manager, before, "c") == "ab"
    assert run_text(manager, after) == "cd"


@pytest.mark.parametrize("name", ["'all'", "'all of it'", "f'all of {len(urls)}'"])
def test_a_loop_in_front_does_not_take_the_place_of_a_named_one_that_is_still_there(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Its items are equal, so that nothing else would tell."""
    named = LOOP.format(f"urls, name={name}")
    front = "def first(cp, do, urls):\n    " + LOOP.format("urls") + "\n"
    run_text(manager, HEAD + named, stop="c")

    assert run_text(manager, f"{front}{HEAD}first(cp, do, urls)\n    {named}") == "abcd" + "cd"
    assert "goes on where" not in caplog.text


def test_a_loop_that_has_lost_its_name_goes_on(manager: CheckpointManager) -> None:
    run_text(manager, HEAD + LOOP.format("urls, name='all of it'"), stop="c")
    assert run_text(manager, BEFORE) == "cd"
