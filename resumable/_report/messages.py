"""Sentences for people: an operation waits, stops, goes on or ends. Callers pass local times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from .._loops.standing import LoopStanding
from .._text import ago, clock_time, command_for, countdown, later, precise, printable

_INTERRUPTED = "Interrupted: "
_CAUSES = {
    "KeyboardInterrupt": "Ctrl-C",
    "stop()": "a request to stop",
    "RateLimitExhausted": "the rate limit",
    "RunAgain": "its time limit",
    "BudgetExhausted": "its budget",
    "TakenOver": "take_over=True",
}
_ENDINGS = {
    "Finished": "finished",
    "Kept: retries exhausted": "gave up its retries",
    "Kept": "ended, and kept its checkpoint,",
    "Failed items: ": "ended with failed items",
    "Stopped: ": "ended with items to go",
}


def waiting(operation_id: str, seconds: float, host: str, at: datetime | None) -> str:
    """``stars: waiting 34:52 for api.github.com (fresh at 15:00:11). Saved: safe to stop.``

    Args:
        seconds: What is left of the wait.
        host: "" if unknown.
        at: The local time now; None leaves out when the wait ends.
    """
    fresh = None if at is None else later(at, seconds)
    when = "" if at is None or fresh is None else f" (fresh at {clock_time(fresh, at, seconds=True)})"
    whom = f" for {printable(host)}" if host else ""
    return f"{printable(operation_id)}: waiting {countdown(seconds)}{whom}{when}. Saved: safe to stop."


def stopped(
    operation_id: str,
    done: int,
    total: int | None,
    command: str,
    directory: str = "",
    loops: Sequence[LoopStanding] = (),
) -> str:
    """Four lines: where an operation stopped, and what a person can do now.

    Args:
        command: Runs the program again; "" if unknown.
        directory: Where the checkpoint lies; "" if the commands look there by themselves.
        loops: How each loop stands, where there are several.
    """
    at = amount(done, total, loops) if len(loops) > 1 else _of(done, total)
    return (
        f"{printable(operation_id)}: stopped at {at}. Saved; nothing is lost.\n"
        f"  go on       {command or 'run it again'}\n"
        f"  look        {command_for('show', operation_id, directory)}\n"
        f"  start over  {command_for('rm', operation_id, directory)}"
    )


def stopped_in_memory(operation_id: str, done: int, total: int | None) -> str:
    """Where an operation stopped whose checkpoint is in memory, and ends with the process."""
    return (
        f"{printable(operation_id)}: stopped at {_of(done, total)}. Its checkpoint is in memory: "
        "it goes on in this process; with the process, it is lost."
    )


def beginning(operation_id: str, location: str) -> str:
    """Say that an operation is new, and where its checkpoint will lie."""
    return f"{printable(operation_id)}: a new operation; its checkpoint will lie in {printable(location)}."


def done_already(operation_id: str, seconds_ago: float | None, directory: str = "") -> str:
    """``stars: finished already, 3 h ago; nothing is done. To do it again: resumable rm stars``."""
    when = "" if seconds_ago is None else f", {ago(seconds_ago)}"
    again = command_for("rm", operation_id, directory)
    return f"{printable(operation_id)}: finished already{when}; nothing to do. To do it again:  {again}"


def going_on(
    operation_id: str,
    done: int,
    total: int | None,
    run: int,
    stopped_seconds_ago: float | None = None,
    how: str = "",
    ending: str = "",
    program: str = "",
    has_saved: bool = True,
) -> str:
    """``stars: going on at 3,413 of 10,000. Run 2; run 1 stopped 10 min ago by Ctrl-C.``

    Args:
        done: Items that are done, as "saved at item" counts.
        stopped_seconds_ago: The time since the last sign of life of the run before; None if unknown.
        how: What interrupted the run before, from :func:`how_it_ended`; "" for nothing.
        ending: How it ended by itself, from :func:`how_it_was_left`; "" if it did not.
        program: The program of the run before, if it was another one.
        has_saved: Whether the run before saved at all.
    """
    text = f"{printable(operation_id)}: going on at {_of(done, total)}. Run {run:,}"
    if stopped_seconds_ago is None:
        return f"{text}."
    when = ago(stopped_seconds_ago)
    before = f"run {run - 1:,}" + (f" of another program, {printable(program)}," if program else "")
    if ending:
        return f"{text}; {before} {ending} {when}."
    if not has_saved:
        return f"{text}; {before} was cut off {when}, before its first save."
    if not how:
        return f"{text}; {before} was cut off, its last save was {when}."
    return f"{text}; {before} stopped {when} by {printable(how)}."


def how_it_ended(last_save_reason: str | None) -> str:
    """What ended a run whose last save had this reason: ``Ctrl-C``; "" if the run was cut off."""
    for part in (last_save_reason or "").split(" | "):
        if part.startswith(_INTERRUPTED):
            cause = part.removeprefix(_INTERRUPTED)
            return _CAUSES.get(cause, cause)
    return ""


def how_it_was_left(last_save_reason: str | None) -> str:
    """How a run ended by itself, by the reason of its last save; "" if it was cut off."""
    reason = (last_save_reason or "").rpartition(" | ")[2]
    return next((ending for head, ending in _ENDINGS.items() if reason.startswith(head)), "")


def limited(operation_id: str, last_save_reason: str | None) -> str:
    """A sentence for a run that reached its ``limit=``; "" if something else ended it."""
    _, is_limited, rest = (last_save_reason or "").rpartition("Stopped: limit ")
    return f"{printable(operation_id)}: limit {rest}" if is_limited else ""


def ended(
    operation_id: str,
    done: str,
    seconds: float,
    *,
    runs: int = 1,
    waits: int = 0,
    failed: int = 0,
    advice: str = "",
) -> str:
    """``crawl: 5,000 of 5,000 in 12 min, 3 runs, 2 waits, 4 failed: resumable show crawl``

    Args:
        done: From :func:`amount`.
        seconds: The time of all runs, waits included.
        advice: What a person can do next; "" for nothing.
    """
    facts = [f"{printable(done)} in {precise(seconds)}"]
    if runs > 1:
        facts.append(f"{runs:,} runs")
    if waits:
        facts.append("1 wait" if waits == 1 else f"{waits:,} waits")
    if failed:
        facts.append(f"{failed:,} failed")
    return f"{printable(operation_id)}: {', '.join(facts)}" + (f": {advice}" if advice else "")


def standing(done: int, total: int | None, saved_ago: float | None, location: str, *, is_closed: bool) -> str:
    """``21 of 60, saved 3 s ago in .checkpoint_nb.json``

    Args:
        saved_ago: Seconds since the last save of this run; None if there was none.
    """
    saved = "not saved yet" if saved_ago is None else f"saved {ago(saved_ago)} in {location}"
    return f"{amount(done, total)}, {'closed' if is_closed else saved}"


def amount(done: int, total: int | None, loops: Sequence[LoopStanding] = ()) -> str:
    """``5,000 of 5,000``, ``42 items``; each loop, if that tells more: ``epoch 4 of 4``, ``a 30/30 · b 5/9``."""
    outer = [one for number, one in enumerate(loops) if not number or not loops[number - 1].is_around]
    if total is None and len(outer) > 1:
        return " · ".join(map(str, outer))
    if total is None and outer and outer[0].total is not None:
        name = "" if outer[0].done == done else f"{outer[0].name} "
        return f"{name}{_of(outer[0].done, outer[0].total)}"
    if total is None:
        return "1 item" if done == 1 else f"{done:,} items"
    return _of(done, total)


def _of(item: int, total: int | None) -> str:
    return f"{item:,}" if total is None else f"{item:,} of {total:,}"
