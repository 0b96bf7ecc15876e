"""``resumable pause``, ``stop``, ``resume`` and ``retry-failed``: requests to a run, left in the store of its saves."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import click

from .._errors import StoreError
from .._report.stored.scan import entry_of
from .._report.stored.summary import Summary
from .._report.wishes import Ask, Asked, ask, asked_of, take_back
from .._text import command_for, duration, printable
from ..stores import CheckpointStore
from ..stores.defaults import without_password
from ._options import ids_for_the_shell, known, opened

_PATIENCE_SECONDS = 5.0
_NAP_SECONDS, _LONG_NAP_SECONDS = 0.1, 1.0

_id = click.argument("operation_id", metavar="ID", shell_complete=ids_for_the_shell)
_where = click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")


@click.command("stop", short_help="Make a running job save and stop after its item.")
@_id
@_where
def stop_command(operation_id: str, where: str | None) -> None:
    """Make a running job save and stop after its current item, as SIGTERM does. Its exit code is 143.

    A `resumable run` around it ends, too, with exit code 75.
    """
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


@click.command("pause", short_help="Make a running job save and pause after its item.")
@_id
@_where
def pause_command(operation_id: str, where: str | None) -> None:
    """Make a running job save after its current item, and pause until `resume`. A paused job can be stopped."""
    store, summary = _running(operation_id, where)
    _ask(store, summary, "pause")
    go_on = command_for("resume", operation_id, without_password(where))
    click.echo(f"{printable(operation_id)} pauses after its item; to go on:  {go_on}")


@click.command("resume", short_help="Let a paused job go on.")
@_id
@_where
def resume_command(operation_id: str, where: str | None) -> None:
    """Let a paused job go on. If the job does not run, this prints how to start it."""
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


@click.command("retry-failed", short_help="Try failed items again.")
@_id
@_where
def retry_failed_command(operation_id: str, where: str | None) -> None:
    """Try failed items again, in the running job, or in its next run. A map tries them at once, a loop over
    cp.remaining at its end. The next run tries items of an iterator, and items of a loop inside of a done item.
    """
    store = opened(where)
    summary = known(store, operation_id)
    if not summary.failed_items:
        raise click.ClickException(f"{printable(operation_id)} has no failed items")
    _ask(store, summary, "retry-failed")
    command = summary.history[-1].command if summary.history else None
    items = "1 failed item" if summary.failed_items == 1 else f"{summary.failed_items:,} failed items"
    who = "this run" if summary.state == "running" else "the next run"
    how = "" if summary.state == "running" or not command else f":  {printable(command)}"
    click.echo(f"{who} of {printable(operation_id)} tries {items} again{how}")


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
        f"{printable(summary.operation_id)} has not answered within {duration(seconds)}{who}. It answers after its "
        "item. With RESUMABLE_INDEX=off, and before its first save, it receives no requests."
    )
