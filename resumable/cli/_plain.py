"""``list``, ``show``, ``rm`` and ``repair`` as plain text, for where click or rich is not installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from .._api.manager import CheckpointManager
from .._errors import ResumableError
from .._format.anywhere import repair_in
from .._format.files import operations_at
from .._format.repair import Repaired, repair
from .._models import __version__
from .._report.stored.contents import failed_in
from .._report.stored.scan import is_missing, not_there, nothing_in, read_all
from .._report.stored.shards import matches
from .._report.stored.summary import Summary, summaries
from .._report.stored.wording import error_of, last_save_of, position_of
from .._text import command_for, printable
from ..stores import CheckpointStore, FileStore, open_store
from ..stores.defaults import default_place, place_to_open, without_password

_NEEDS_MORE = frozenset(
    {"run", "report", "serve", "watch", "tail", "diff", "pause", "stop", "resume", "retry-failed"}
    | {"copy", "export", "verify", "completion"}
)
_INSTALL = "pip install 'resumable-loops[cli]'"
_MORE = f"run, watch, report, serve, export, tables, --json and more:  {_INSTALL}"


def main(arguments: Sequence[str]) -> int:
    """Run the command in *arguments*. Returns the exit code: 0 done, 1 not done, 2 wrong arguments."""
    if arguments and arguments[0] in _NEEDS_MORE:
        print(f"Error: {arguments[0]} needs click and rich:  {_INSTALL}", file=sys.stderr)
        return 2
    asked = _parser().parse_args(arguments)
    try:
        return _answer(asked)
    except (ResumableError, ValueError, ImportError) as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("resumable", description=f"Look at checkpoints, remove and repair them. {_MORE}")
    parser.add_argument("--version", action="version", version=f"resumable, version {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list | show | rm | repair")
    for verb, help_ in (
        ("list", "all operations"),
        ("show", "one operation in full"),
        ("rm", "start over"),
        ("repair", "go back to the last good save"),
    ):
        one = verbs.add_parser(verb, help=help_)
        others = "a file of the checkpoint" if verb == "repair" else "a pattern: 'shard-*'"
        one.add_argument("ids", metavar="ID", nargs="*" if verb in ("list", "show") else "+", help=f"or {others}")
        one.add_argument("--dir", "--store", dest="where", metavar="DIR", help="where the checkpoints lie")
        if verb == "rm":
            one.add_argument("-y", "--yes", action="store_true", help="do not ask")
    return parser


def _answer(asked: argparse.Namespace) -> int:
    store = open_store(place_to_open(asked.where) if asked.where else default_place())
    if asked.where is not None and is_missing(store):
        print(f"Error: {not_there(store)}", file=sys.stderr)
        return 1
    if asked.verb == "repair":
        return max([_repair(store, target) for target in asked.ids])
    everything = summaries(store)
    chosen = [one for one in everything if not asked.ids or any(matches(one.operation_id, name) for name in asked.ids)]
    unknown = [name for name in asked.ids if not any(matches(one.operation_id, name) for one in everything)]
    if unknown or (not chosen and asked.verb == "show"):
        which = ", ".join(map(printable, unknown)) or "any operation"
        print(f"Error: no checkpoint of {which} in {printable(str(store.describe()))}", file=sys.stderr)
        return 1
    if asked.verb == "rm":
        return _remove(store, chosen, is_sure=asked.yes or not sys.stdin.isatty())
    for one in chosen:
        _show(store, one, asked.where) if asked.verb == "show" else print(_line(one))
    if not chosen:
        print(nothing_in(store))
    return 0


def _line(one: Summary) -> str:
    position = position_of(one) if one.is_readable else printable(one.problem or "")
    return f"{printable(one.operation_id)}  {one.state}  {position}  {last_save_of(one)}"


def _show(store: CheckpointStore, one: Summary, where: str | None) -> None:
    print(_line(one))
    command = one.history[-1].command if one.history else None
    facts = {
        "ended by": error_of(one),
        "file": one.location,
        "go on": command,
        "start over": command_for("rm", one.operation_id, without_password(where)),
    }
    for name, value in facts.items():
        if value:
            print(f"  {name:<10}  {printable(value)}")
    restored = read_all(store, one.operation_id) if one.is_readable else None
    for item in failed_in(restored.sections) if restored else ():
        print(f"  {'failed':<10}  {printable(str(item.key))}: {printable(item.error)}")


def _repair(store: CheckpointStore, target: str) -> int:
    """Repair the checkpoint of *target*. Returns the exit code."""
    now, code = datetime.now(UTC), 0
    ways = [partial(repair_in, store, target)]
    if isinstance(store, FileStore):
        ways = [partial(repair, path) for path in operations_at(target, store)]
    for mend in ways:
        try:
            print(_repaired(mend(now=now)))
        except ResumableError as error:
            print(f"Error: {_printable_lines(str(error))}", file=sys.stderr)
            code = 1
    return code


def _repaired(one: Repaired) -> str:
    name, items = printable(one.operation_id), one.best.restored.data.metadata.processed_items
    if not one.problem:
        return f"{name}: good; nothing to repair"
    kept = [f"  kept  {printable(str(path))}" for path in one.kept]
    return "\n".join([f"{name}: repaired; the next run goes on from item {items:,}", *kept])


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.splitlines()))


def _remove(store: CheckpointStore, chosen: Sequence[Summary], *, is_sure: bool) -> int:
    for one in () if is_sure else chosen:
        print(_line(one))
    if not is_sure and input("Remove? This cannot be undone. [y/N] ").strip().lower() not in ("y", "yes"):
        return 1
    manager, code = CheckpointManager(store=store), 0
    for one in chosen:
        try:
            if manager.delete_checkpoint(one.operation_id) or not one.problem:
                print(f"removed {printable(one.operation_id)}")
                continue
            problem = f"{one.operation_id} was not removed: {one.problem}"
        except (ResumableError, ValueError) as error:
            problem = str(error)
        print(f"Error: {printable(problem)}", file=sys.stderr)
        code = 1
    return code
