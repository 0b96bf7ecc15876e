"""``resumable pause``, ``stop``, ``resume`` and ``retry-failed``: asked of a run through the store that it saves to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import click

from .._errors import StoreError
from .._report.scan import entry_of
from .._report.summary import Summary
from .._report.wishes import Ask, Asked, ask, asked_of, take_back
from .._text import command_for, duration, printable
from ..stores import CheckpointStore
from ..stores.defaults import without_password
from ._options import ids_for_the_shell, known, opened

_PATIENCE_SECONDS = 5.0
_NAP_SECONDS, _LONG_NAP_SECONDS = 0.1, 1.0

_id = click.argument("operation_id", metavar="ID", shell_complete=ids_for_the_shell)
_where = click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")


@click.command("stop", short_help="Have a running job save and stop after its item.")
@_id
@_where
def stop_command(operation_id: str, where: str | None) -> None:
    """Have a job that is running save and stop after its current item, as SIGTERM would: exit code 143."""
    store, summary = _running(operation_id, where)
    _ask(store, summary, "stop")
    seconds = _PATIENCE_SECONDS + 2 * (store.traits.looks_every or 0.0)
    until = time.monotonic() + seconds
    while (is_waiting := _is_asked(store, operation_id, "stop")) and time.monotonic() < until:
        time.sleep(_LONG_NAP_SECONDS if store.traits.is_remote else _NAP_SECONDS)
    if is_waiting:
        click.echo(_unheard(summary, seconds), err=True)
        raise SystemExit(1)
    click.echo(f"{printable(operation_id)} stops after its item")


@click.command("pause", short_help="Have a running job save and wait after its item.")
@_id
@_where
def pause_command(operation_id: str, where: str | None) -> None:
    """Have a job that is running save, and wait after its current item until `resume`. It can still be stopped."""
    store, summary = _running(operation_id, where)
    _ask(store, summary, "pause")
    go_on = command_for("resume", operation_id, without_password(where))
    click.echo(f"{printable(operation_id)} pauses after its item; to go on: {go_on}")


@click.command("resume", short_help="Have a paused job go on.")
@_id
@_where
def resume_command(operation_id: str, where: str | None) -> None:
    """Have a job that was paused go on. One that does not run is not started: it says how to."""
    store = opened(where)
    summary = known(store, operation_id)
    asked = _asked(store, operation_id)
    is_paused = asked is not None and asked.ask == "pause"
    if asked is not None and is_paused:
        with _failing():
            take_back(store, operation_id, asked)
    if summary.state == "running":
        click.echo(f"{printable(operation_id)} {'goes on' if is_paused else 'was not paused'}")
        return
    command = summary.history[-1].command if summary.history else None
    how = f". To go on:  {printable(command)}" if command else "; run its program again"
    how = "" if summary.has_ended else how
    raise click.ClickException(f"{printable(operation_id)} is not running ({summary.state}){how}")


@click.command("retry-failed", short_help="Have failed items tried again.")
@_id
@_where
def retry_failed_command(operation_id: str, where: str | None) -> None:
    """Have the items that failed tried again: by a job that is running, or by its next run. A map does so as soon as
    it hears it, a loop over cp.remaining at its end. Left to the next run are items that can only be gone through once,
    and those of a loop inside of an item that is done.
    """
    store = opened(where)
    summary = known(store, operation_id)
    if not summary.failed_items:
        raise click.ClickException(f"{printable(operation_id)} has no failed items")
    _ask(store, summary, "retry-failed")
    command = summary.history[-1].command if summary.history else None
    which = "1 failed item is" if summary.failed_items == 1 else f"{summary.failed_items:,} failed items are"
    who = "the run that works on" if summary.state == "running" else "the next run of"
    how = "" if summary.state == "running" or not command else f": {printable(command)}"
    click.echo(f"{which} tried again by {who} {printable(operation_id)}{how}")


def _running(operation_id: str, where: str | None) -> tuple[CheckpointStore, Summary]:
    store = opened(where)
    summary = known(store, operation_id)
    if summary.state != "running":
        raise click.ClickException(f"{printable(operation_id)} is not running ({summary.state})")
    return store, summary


def _ask(store: CheckpointStore, summary: Summary, what: Ask) -> None:
    with _failing():
        entry = entry_of(store, summary.operation_id)
        ask(store, summary.operation_id, what, term=entry.term if entry is not None else 0)


def _asked(store: CheckpointStore, operation_id: str) -> Asked | None:
    with _failing():
        return asked_of(store, operation_id)


def _is_asked(store: CheckpointStore, operation_id: str, what: Ask) -> bool:
    asked = _asked(store, operation_id)
    return asked is not None and asked.ask == what


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise click.ClickException(printable(str(error))) from None


def _unheard(summary: Summary, seconds: float) -> str:
    run = summary.history[-1] if summary.history else None
    who = f"; process {run.pid} on {printable(run.host)}" if run is not None and run.pid else ""
    return (
        f"asked, but {printable(summary.operation_id)} has not heard it within {duration(seconds)}{who}. It does once "
        "its item lets it; with RESUMABLE_INDEX=off, or before its first save, it hears nothing"
    )
