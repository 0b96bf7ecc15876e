"""``resumable watch`` and ``tail``, and ``list --all`` and ``--watch``: jobs as they are right now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .._report.live import Live, everywhere, live, live_of
from .._report.places import VARIABLE, directory, events_of, events_path, place_of
from .._report.stored.summary import Summary, summaries
from .._report.stored.wording import items_failed, last_save_of, left_text, number, percent_text, position_of
from .._text import clock_time, printable
from ..stores import CheckpointStore
from ._options import ids_for_the_shell, not_found, opened, the_only_one, with_options
from ._screens import as_json_object, filled_lines, make_console, print_json, state_of, table_with_tail

_BAR_WIDTH = 40
_COLUMNS = ("OPERATION", "STATE", ">DONE", ">", ">LEFT", ">LAST SAVE")


# -- list --all, --watch ----------------------------------------------------------------------------------------------


def print_everywhere(as_json: bool, matching: Callable[[str], bool]) -> None:
    """Print all matching operations of this user on this machine, each with its place."""
    if directory() is None:
        raise click.ClickException(f"this machine keeps no list of places: ${VARIABLE} is off")
    unreached: list[tuple[str, Exception]] = []
    found = _found_everywhere(matching, lambda *one: unreached.append(one))
    if as_json:
        rows = [as_json_object(one.shown) | {"state": one.state, "store": place} for place, one in found]
        problems = [{"store": place, "problem": str(error)} for place, error in unreached]
        print_json({"checkpoints": rows, "unreached": problems})
    elif found:
        console = make_console()
        console.print(_all_table(console, found))
    else:
        click.echo("no checkpoints in any known place of this machine")
    if not as_json:
        for place, error in unreached:
            click.echo(f"not reached: {printable(place)} ({printable(reason_for(place, error))})", err=True)


def reason_for(place: str, error: Exception) -> str:
    """Why *place* does not answer: the first line of the error without the place, at most 100 characters."""
    line = str(error).removeprefix(f"{place}: ").split("\n", 1)[0]
    return line if len(line) <= 100 else f"{line[:97]}..."


def _all_table(console: Console, found: Iterable[tuple[str, Live]]) -> Table:
    rows = [(*_row(console, one), Text(printable(place))) for place, one in found]
    return table_with_tail(console, [*_COLUMNS, "PLACE"], rows)


def _row(console: Console, one: Live) -> tuple[Text | str, ...]:
    shown = one.shown
    total = "" if shown.total_items is None else f"/{shown.total_items:,}"
    done = f"{number(shown.processed_items)}{total}"
    name = Text(printable(shown.operation_id))
    return name, state_of(console, one), done, percent_text(shown), left_text(shown), last_save_of(shown)


def watch_list(store: CheckpointStore, matching: Callable[[str], bool], *, is_all: bool) -> None:
    """Show the list, and refresh it every second, until Ctrl-C."""
    console = make_console()
    if not console.is_terminal:
        raise click.UsageError("--watch needs a terminal; elsewhere use resumable watch ID, which prints lines")

    def table() -> RenderableType:
        if is_all:
            return _all_table(console, _found_everywhere(matching))
        found = [live(store, one) for one in summaries(store) if matching(one.operation_id)]
        rows = [(*_row(console, one), Text(one.says)) for one in found]
        return table_with_tail(console, [*_COLUMNS, ""], rows)

    _show(console, table, lambda: False)


def _found_everywhere(
    matching: Callable[[str], bool], unreached: Callable[[str, Exception], None] = lambda place, error: None
) -> list[tuple[str, Live]]:
    return [
        (place, live(store, one))
        for place, store, some in everywhere(unreached)
        for one in some
        if matching(one.operation_id)
    ]


def _show(
    console: Console, made: Callable[[], RenderableType], is_over: Callable[[], bool], every: float = 1.0
) -> None:
    with Screen(made(), console=console, auto_refresh=False, transient=False) as screen:
        try:
            while not is_over():
                time.sleep(every)
                screen.update(made(), refresh=True)
        except KeyboardInterrupt:
            return


# -- watch ------------------------------------------------------------------------------------------------------------


@click.command("watch", short_help="Watch one operation as it works.")
@click.argument("operation_id", metavar="[ID]", required=False, shell_complete=ids_for_the_shell)
@click.option(
    "--every", type=click.FloatRange(0.1), default=1.0, metavar="SECONDS", help="How often to look (default: 1)."
)
@with_options
def watch_command(operation_id: str | None, every: float, where: str | None, as_json: bool) -> None:
    """Watch one operation until its run ends: its progress, what it waits for, and whether it is stuck.

    The run reports every two seconds, also between saves. It is stuck if one item takes longer than a minute and than
    twenty average items. On a terminal the display stays in place, until Ctrl-C; elsewhere each change is a line.

    \b
    resumable watch crawl

    \b
    --json: a JSON object in a line at each change: the keys of `list` (state may also be waiting, paused, stuck or
      silent), and says
    """
    store = opened(where)
    operation_id = operation_id if operation_id is not None else the_only_one(store).operation_id
    watched = _Watched(store, operation_id)
    if watched.one is None:
        raise click.ClickException(not_found(store, operation_id))
    console = make_console()
    if console.is_terminal and not as_json:
        _show(console, lambda: _card(console, watched.look(), watched), lambda: watched.is_over, every)
        return
    try:
        _print_changes(watched, every, as_json)
    except KeyboardInterrupt:
        return


class _Watched:
    def __init__(self, store: CheckpointStore, operation_id: str) -> None:
        self.operation_id, self._store = operation_id, store
        self.one = live_of(store, operation_id)
        self.is_over = False

    def look(self) -> Live | None:
        """The present state of the operation; None if it has no checkpoint any more."""
        found = live_of(self._store, self.operation_id)
        self.one = found or self.one
        self.is_over = found is None or found.summary.state != "running"
        return found

    def ending(self) -> str:
        """How the operation ended, by its events."""
        home, place = directory(), place_of(self._store)
        if home is None or place is None:
            return "it has finished, or was removed"
        events, _ = events_of(events_path(home, place, self.operation_id))
        is_done = bool(events) and events[-1].get("name") == "done"
        return f"done, {events[-1].get('processed_items', 0):,} items" if is_done else "it has finished, or was removed"


def _print_changes(watched: _Watched, every: float, as_json: bool) -> None:
    before: Any = None
    while True:
        one = watched.look()
        told = None if one is None else (one.state, one.shown.processed_items, one.summary.save_count)
        if told != before and one is not None:
            if as_json:
                click.echo(_as_line(as_json_object(one.shown) | {"state": one.state, "says": one.says}))
            else:
                click.echo(
                    f"{printable(one.shown.operation_id)}  {one.state}  {position_of(one.shown)}  {one.says}".rstrip()
                )
            before = told
        if watched.is_over:
            if one is None and not as_json:
                click.echo(f"{printable(watched.operation_id)}: {watched.ending()}")
            return
        time.sleep(every)


def _as_line(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, default=datetime.isoformat)


def _card(console: Console, one: Live | None, watched: _Watched) -> RenderableType:
    if one is None:
        return Text(f"{printable(watched.operation_id)}: {watched.ending()}")
    shown = one.shown
    head = Text.assemble((printable(shown.operation_id), "bold"), "  ", state_of(console, one))
    is_wide = head.cell_len + 2 + len(position_of(shown)) <= console.width
    lines: list[RenderableType] = [head.append(f"{'  ' if is_wide else chr(10)}{position_of(shown)}", style="not bold")]
    if shown.percent is not None and shown.total_items:
        bar = Table.grid()
        bar.add_row(ProgressBar(shown.total_items, shown.processed_items or 0, width=min(_BAR_WIDTH, console.width)))
        lines.append(bar)
    said = [one.says, one.rate, f"saved {last_save_of(shown)}", _whose(one.summary)]
    lines.append(Text(filled_lines(said, console.width), style="dim" if one.state == "running" else ""))
    if shown.failed_items:
        lines.append(Text(items_failed(shown.failed_items), style="yellow"))
    return Group(*lines)


def _whose(summary: Summary) -> str:
    run = summary.history[-1] if summary.history else None
    if run is None or not run.pid:
        return ""
    return f"run {run.run:,}, process {run.pid}{f' on {printable(run.host)}' if run.host else ''}"


# -- tail -------------------------------------------------------------------------------------------------------------


@click.command("tail", short_help="Print the last events of an operation.")
@click.argument("operation_id", metavar="[ID]", required=False, shell_complete=ids_for_the_shell)
@click.option(
    "-n", "count", type=click.IntRange(0), default=20, metavar="N", help="Print the last N events (default: 20)."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new events, until Ctrl-C.")
@with_options
def tail_command(operation_id: str | None, count: int, follow: bool, where: str | None, as_json: bool) -> None:
    """Print the events of an operation on this machine, also after it has finished: runs, saves, waits, failed items.

    At most one save each second is kept.

    \b
    --json: a JSON object in each line: name, operation_id, at, run, processed_items and more
    """
    store = opened(where)
    operation_id = operation_id if operation_id is not None else the_only_one(store).operation_id
    home, place = directory(), place_of(store)
    if home is None or place is None:
        raise click.ClickException(
            f"no events are kept: ${VARIABLE} is off" if home is None else "no events are kept here"
        )
    path = events_path(home, place, operation_id)
    events, offset = events_of(path)
    if not events and not follow:
        raise click.ClickException(f"no events of {printable(operation_id)} on this machine")
    _print_events(events[-count:] if count else [], as_json)
    try:
        while follow:
            time.sleep(0.5)
            events, offset = events_of(path, offset)
            _print_events(events, as_json)
    except KeyboardInterrupt:
        return


def _print_events(events: Sequence[dict[str, Any]], as_json: bool) -> None:
    for event in events:
        click.echo(_as_line(event) if as_json else event_line(event))


def event_line(event: dict[str, Any]) -> str:
    """``14:05:11  failed_item  5 of 400  loop-1 7: ValueError: no``."""
    try:
        moment = datetime.fromisoformat(str(event.get("at"))).astimezone()
        at = clock_time(moment, datetime.now().astimezone(), seconds=True)
    except ValueError:
        at = "?"
    done, total = event.get("processed_items"), event.get("total_items")
    position = f"{done} of {total}" if total is not None else f"{done}"
    item = f"{event.get('loop')} {event.get('key')}:" if event.get("key") is not None else ""
    facts = [item, event.get("whom"), event.get("error") or event.get("reason")]
    about = printable(" ".join(str(fact) for fact in facts if fact))
    return printable(f"{at}  {event.get('name')!s:<11}  {position:<15}  {about}".rstrip())
