"""``resumable pause``, ``stop``, ``resume`` and ``retry-failed``: asked of a run through a file that it sees."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .._report.places import Ask, Asked, ask, ask_path, read, remove
from .._report.summary import Summary
from .._text import printable
from ..stores import CheckpointStore
from ._options import ids_for_the_shell, known, opened

_PATIENCE_SECONDS = 5.0
_NAP_SECONDS = 0.1

_id = click.argument("operation_id", metavar="ID", shell_complete=ids_for_the_shell)
_where = click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")


@click.command("stop", short_help="Have a running job save and stop after its item.")
@_id
@_where
def stop_command(operation_id: str, where: str | None) -> None:
    """Have a job that is running save and stop after its current item, as SIGTERM would: exit code 143."""
    summary, path = _running(operation_id, where)
    _ask(path, "stop")
    until = time.monotonic() + _PATIENCE_SECONDS
    while path.exists() and time.monotonic() < until:
        time.sleep(_NAP_SECONDS)
    if path.exists():
        click.echo(_unheard(summary), err=True)
        raise SystemExit(1)
    click.echo(f"{printable(operation_id)} stops after its item")


@click.command("pause", short_help="Have a running job save and wait after its item.")
@_id
@_where
def pause_command(operation_id: str, where: str | None) -> None:
    """Have a job that is running save, and wait after its current item until `resume`. It can still be stopped."""
    _, path = _running(operation_id, where)
    _ask(path, "pause")
    click.echo(f"{printable(operation_id)} pauses after its item; to go on: resumable resume {printable(operation_id)}")


@click.command("resume", short_help="Have a paused job go on.")
@_id
@_where
def resume_command(operation_id: str, where: str | None) -> None:
    """Have a job that was paused go on. One that does not run is not started: it says how to."""
    store = opened(where)
    summary, path = known(store, operation_id), _path(store, operation_id)
    asked = read(path, Asked)
    if asked is not None and asked.ask == "pause":
        remove(path)
    if summary.state == "running":
        goes_on = asked is not None and asked.ask == "pause"
        click.echo(f"{printable(operation_id)} {'goes on' if goes_on else 'was not paused'}")
        return
    command = summary.history[-1].command if summary.history else None
    how = f": {printable(command)}" if command else "; run its program again"
    raise click.ClickException(f"{printable(operation_id)} is not running ({summary.state}){how}")


@click.command("retry-failed", short_help="Have failed items tried again.")
@_id
@_where
def retry_failed_command(operation_id: str, where: str | None) -> None:
    """Have the items that failed tried again: by loops that a running job begins from now on, or by its next run."""
    store = opened(where)
    summary = known(store, operation_id)
    if not summary.failed_items:
        raise click.ClickException(f"{printable(operation_id)} has no failed items")
    _ask(_path(store, operation_id), "retry-failed")
    command = summary.history[-1].command if summary.history else None
    how = "" if summary.state == "running" or not command else f": {printable(command)}"
    which = "1 failed item is" if summary.failed_items == 1 else f"{summary.failed_items:,} failed items are"
    click.echo(f"{which} tried again by the next loop or run of {printable(operation_id)}{how}")


def _running(operation_id: str, where: str | None) -> tuple[Summary, Path]:
    store = opened(where)
    summary = known(store, operation_id)
    if summary.state != "running":
        raise click.ClickException(f"{printable(operation_id)} is not running ({summary.state})")
    return summary, _path(store, operation_id)


def _path(store: CheckpointStore, operation_id: str) -> Path:
    path = ask_path(store, operation_id)
    if path is None:
        raise click.ClickException(f"nothing can be asked of what is in {printable(str(store.describe()))}")
    return path


def _ask(path: Path, what: Ask) -> None:
    try:
        ask(path, what)
    except OSError as error:
        raise click.ClickException(f"cannot write {printable(str(path))}: {error.strerror or error}") from None


def _unheard(summary: Summary) -> str:
    run = summary.history[-1] if summary.history else None
    who = f"; process {run.pid} on {printable(run.host)}" if run is not None and run.pid else ""
    return f"asked, but {printable(summary.operation_id)} has not heard it yet{who}; it does once its item lets it"
