"""``resumable diff``: what differs between two operations, or between the last two snapshots of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from .._errors import StoreError
from .._format.restore import Restored, restored_from
from .._json import step
from .._report.stored.contents import loops_in
from .._report.stored.scan import read_all
from .._text import printable, shortened
from ..stores import CheckpointStore
from ._options import ids_for_the_shell, not_found, opened, with_key, with_options
from ._screens import print_json

_MOST_LINES = 200
_MISSING = object()


@click.command("diff", short_help="Compare two operations, or the last two snapshots of one.")
@click.argument("first", metavar="A", shell_complete=ids_for_the_shell)
@click.argument("second", metavar="[B]", required=False, shell_complete=ids_for_the_shell)
@with_options
@with_key
def diff_command(first: str, second: str | None, where: str | None, as_json: bool, key_file: Path | None) -> None:
    """Compare two operations. With one, compare the snapshot before its last one with its present state.

    It compares each value of the state, the positions of loops, and the counts. The exit code is 0 if nothing differs,
    and 1 if something does.

    \b
    resumable diff crawl
    resumable diff crawl-monday crawl-tuesday

    \b
    --json: [{"path": text, "before": value, "after": value}]; a missing value has no "before" or no "after"
    """
    store = opened(where, key_file)
    if second is None:
        before, after = _previous(store, first), _now(store, first)
    else:
        before, after = _now(store, first), _now(store, second)
    found = list(differences(_comparable(before), _comparable(after)))
    if as_json:
        print_json([_as_object(*each) for each in found])
    else:
        for path, old, new in found[:_MOST_LINES]:
            click.echo(_as_line(path, old, new))
        if len(found) > _MOST_LINES:
            click.echo(f"and {len(found) - _MOST_LINES:,} more; --json shows all")
    raise SystemExit(1 if found else 0)


def _now(store: CheckpointStore, operation_id: str) -> Restored:
    restored = read_all(store, operation_id)
    if restored is None:
        raise click.ClickException(not_found(store, operation_id))
    return restored


def _previous(store: CheckpointStore, operation_id: str) -> Restored:
    from datetime import UTC, datetime

    stored = store.read(operation_id, previous=True)
    if stored is None:
        if store.read(operation_id) is None:
            raise click.ClickException(not_found(store, operation_id))
        raise click.ClickException(f"{printable(operation_id)} has only one snapshot; name another operation")
    try:
        return restored_from(stored, store, operation_id, now=datetime.now(UTC))
    except StoreError as error:
        raise click.ClickException(printable(str(error))) from None


def _comparable(restored: Restored) -> dict[str, Any]:
    metadata = restored.data.metadata
    return {
        "state": _state_of(restored),
        "loops": {loop.name: [loop.processed_items, loop.total_items] for loop in loops_in(restored.sections)},
        "failed": {
            name: {str(key): error for key, error in pairs} for name, pairs in (restored.sections.failed or {}).items()
        },
        "processed_items": metadata.processed_items,
        "total_items": metadata.total_items,
        "error_count": metadata.error_count,
    }


def _state_of(restored: Restored) -> dict[str, Any]:
    """The state; a ``cp.set`` as a dict, because its order means nothing."""
    kinds = restored.sections.collections
    return {
        name: {_name_of(one): one for one in value} if kinds.get(name) == "set" else value
        for name, value in restored.data.state.items()
    }


def _name_of(entry: Any) -> str:
    return entry if type(entry) is str else json.dumps(entry, sort_keys=True)


def differences(before: Any, after: Any, path: str = "$") -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ: the path, and what each has there, or that it is missing there."""
    if type(before) is dict and type(after) is dict:
        for name in dict.fromkeys([*before, *after]):
            yield from differences(before.get(name, _MISSING), after.get(name, _MISSING), f"{path}{step(name)}")
    elif type(before) is list and type(after) is list:
        for number in range(max(len(before), len(after))):
            old = before[number] if number < len(before) else _MISSING
            new = after[number] if number < len(after) else _MISSING
            yield from differences(old, new, f"{path}[{number}]")
    elif type(before) is not type(after) or before != after:
        yield path, before, after


def _as_line(path: str, old: Any, new: Any) -> str:
    if old is _MISSING:
        return printable(f"+ {path}: {shortened(new, 80)}")
    if new is _MISSING:
        return printable(f"- {path}: {shortened(old, 80)}")
    return printable(f"~ {path}: {shortened(old, 60)} -> {shortened(new, 60)}")


def _as_object(path: str, old: Any, new: Any) -> dict[str, Any]:
    told = {"path": path}
    told |= {} if old is _MISSING else {"before": old}
    return told | ({} if new is _MISSING else {"after": new})
