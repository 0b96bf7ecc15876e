"""The pages of ``resumable serve``: all jobs, or one, in their present state. HTML without script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..._errors import ResumableError
from ...stores import CheckpointStore
from ..live import Live
from ..places import directory, events_of, events_path, name_for, place_of
from ..stored.scan import read_all
from ..stored.wording import last_save_of, left_text, number, percent_text
from .charts import text
from .page import facts, header, report_of, table, whole_page

_REFRESH_SECONDS = 5
_MOST_EVENTS = 30
REFRESH = f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">'
ASKS = {"pause": "Pause", "resume": "Go on", "stop": "Stop", "retry-failed": "Try failed items again"}
"""The requests, and the text of the button for each."""
_NUMBER = ' class="number"'
_COLUMNS = (
    *(("operation", ""), ("state", "")),
    *((name, _NUMBER) for name in ("done", "", "left", "last save")),
    ("place", ""),
)
"""The heading of each, and its attributes."""


def path_for(place: str, operation_id: str) -> str:
    """The path of a job's page: its place is a digest, its id is written out."""
    return f"/job/{name_for(place)}/{quote(operation_id, safe='')}"


def jobs_page(found: Sequence[tuple[str, Live]], title: str, unreached: Sequence[tuple[str, str]] = ()) -> str:
    """All jobs, the newest first in each place.

    Args:
        unreached: Places that do not answer, and why.
    """
    rows = "".join(map(_job_row, found))
    head = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in _COLUMNS)
    body = (
        '<div class="scroll" tabindex="0" role="region" aria-label="Jobs"><table class="jobs">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        if found
        else "<p>There are no checkpoints.</p>"
    )
    away = table("Places that do not answer", ("place", "why"), unreached)
    return whole_page(title, f"<header><h1>{text(title)}</h1></header>{body}{away}", head=REFRESH)


def _job_row(each: tuple[str, Live]) -> str:
    place, one = each
    shown = one.shown
    total = "" if shown.total_items is None else f"/{shown.total_items:,}"
    cells = [
        f'<a href="{text(path_for(place, shown.operation_id))}">{text(shown.operation_id)}</a>',
        f'<span class="state {one.state}">{text(one.state)}</span>',
        *map(text, (f"{number(shown.processed_items)}{total}", percent_text(shown), left_text(shown))),
        *map(text, (last_save_of(shown), place)),
    ]
    return f"<tr>{''.join(f'<td{kind}>{cell}</td>' for cell, (_, kind) in zip(cells, _COLUMNS, strict=True))}</tr>"


def job_page(store: CheckpointStore, one: Live, token: str | None) -> str:
    """The page of one job: its state, its events, its report.

    Args:
        token: The token for forms; None shows no buttons.
    """
    summary = one.shown
    told = f'<p role="status">{text(one.says)}</p>' if one.says else ""
    told += _forms(one, token) if token is not None else ""
    try:
        restored = read_all(store, summary.operation_id) if summary.is_readable else None
        problem = one.summary.problem or ""
    except (ResumableError, ValueError) as error:  # it may just be replaced, or is damaged
        restored, problem = None, str(error)
    if restored is not None:
        report = report_of(summary, restored, state=one.state, told=told)
    else:
        report = header(summary, one.state) + told + facts([("problem", problem)])
    body = f'<p><a href="/">All jobs</a></p>{report}{_events(store, summary.operation_id)}'
    return whole_page(summary.operation_id, body, head=REFRESH, has_forms=token is not None)


def _forms(one: Live, token: str) -> str:
    wanted = _asks_for(one)
    buttons = "".join(
        f'<form method="post"><input type="hidden" name="token" value="{text(token)}">'
        f'<button name="ask" value="{name}">{ASKS[name]}</button></form> '
        for name in wanted
    )
    return f"<p>{buttons}</p>" if buttons else ""


def _asks_for(one: Live) -> Iterable[str]:
    if one.summary.state == "running":
        yield from ("resume" if one.state == "paused" else "pause", "stop")
    if one.summary.failed_items:
        yield "retry-failed"


def _events(store: CheckpointStore, operation_id: str) -> str:
    home, place = directory(), place_of(store)
    if home is None or place is None:
        return ""
    events, _ = events_of(events_path(home, place, operation_id))
    rows = [_event_row(event) for event in reversed(events[-_MOST_EVENTS:])]
    return table("Events", ("at", "event", ">done", "about"), rows)


def _event_row(event: dict[str, Any]) -> tuple[str, str, str, str]:
    about = " ".join(str(event[name]) for name in ("loop", "key", "whom", "error", "reason") if event.get(name))
    at = str(event.get("at", "")).replace("T", " ")[:19]
    return at, str(event.get("name", "")), str(event.get("processed_items", "")), about


def problem_page(title: str, told: str) -> str:
    """The page that says why a request failed."""
    return whole_page(
        title, f'<header><h1>{text(title)}</h1></header><p>{text(told)}</p><p><a href="/">All jobs</a></p>'
    )


def title_for(where: Path | str | None) -> str:
    """The title of the page of all jobs."""
    return "Jobs on this machine" if where is None else f"Jobs in {where}"
