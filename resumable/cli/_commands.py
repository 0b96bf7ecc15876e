"""The commands: what they take, and what they answer."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from .._api.manager import CheckpointManager
from .._errors import CheckpointBusyError, ResumableError, StoreError
from .._report.contents import plain_document
from .._report.scan import read_all
from .._report.shards import matches, sums_of
from .._report.summary import Summary, summaries, summary_of
from .._runtime import disk
from .._text import printable
from ..stores import CheckpointStore, Holder
from ._options import opened, with_key, with_options
from ._screens import as_json_object, make_console, position_of, print_json, print_list, print_sealed, print_sums, size
from ._show import details, print_show
from ._verify_commands import repair_command, verify_command


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ResumableError, ValueError) as error:
            raise click.ClickException("\n".join(map(printable, str(error).splitlines()))) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Look at the checkpoints of resumable loops, and remove or export them.

    They are looked for in --dir, else in $CHECKPOINT_DIR, else in the directory that `dir` in [tool.resumable] of the
    nearest pyproject.toml names, else here. Exit codes: 0 done, 1 not done (stderr says why), 2 called wrongly.
    """


@commands.command("list")
@click.argument("patterns", metavar="[ID|PATTERN]…", nargs=-1)
@click.option("--sum", "as_sums", is_flag=True, help="Leave out what is in a sum.")
@with_options
@with_key
def list_command(
    patterns: tuple[str, ...], as_sums: bool, where: str | None, as_json: bool, key_file: Path | None
) -> None:
    """Show operations: how far each one is, and when it was saved last; then the sums of those that are shards.

    LEFT is estimated from the time that all runs took, as of the last save.

    With PATTERN, such as 'job-*', what matches is shown, and summed up for each PATTERN. Without one, a sum is made of
    two or more ids that differ only in a number at their end that counts from 0 or 1: job-0, job-1, or job/0, job/1.
    No sum is made of dates and years. A shard counts as long as it has a checkpoint: keep that of one that is finished,
    by cp.keep() or auto_cleanup=False.

    \b
    --json: {"store": text, "checkpoints": [one object each], "sums": [one object each]}, a checkpoint with
      operation_id, location
      state            running, stopped, failed, killed, incomplete (it ended well, but items failed), finished, saved,
                       damaged, encrypted (and no key was given that opens it)
      processed_items, total_items, percent, left_seconds, elapsed_time
      created_at, last_updated                      UTC, ISO 8601
      save_count, last_save_reason, error_count, runs
      failed_items     that map gave up, and has not done since
      problem          why it is damaged, or cannot be opened
      previous         where the save before it lies, if that one is good
    and a sum with
      pattern, operation_ids
      states           how many are in which state
      processed_items, total_items, failed_items, percent, left_seconds, last_updated
      missing          numbers in between that have no checkpoint
    What is not known is null.
    """
    store = opened(where, key_file)
    chosen = [one for one in summaries(store) if not patterns or any(matches(one.operation_id, p) for p in patterns)]
    found, sums = chosen, sums_of(chosen, patterns)
    if as_sums:
        summed = {operation_id for one in sums for operation_id in one.operation_ids}
        found = [one for one in chosen if one.operation_id not in summed]
    if as_json:
        shown = {"checkpoints": list(map(as_json_object, found)), "sums": list(map(as_json_object, sums))}
        print_json({"store": _name(store)} | shown)
        return
    console = make_console()
    if found:
        print_list(console, found)
    if sums:
        print_sums(console, sums, is_first=not found)
    print_sealed(console, chosen)
    if not found and not sums:
        which = f" of {' '.join(map(printable, patterns))}" if patterns else ""
        click.echo(f"no checkpoints{which} in {printable(_name(store))}")


def _name(store: CheckpointStore) -> str:
    place = store.describe()
    return str(place.absolute()) if isinstance(place, Path) else place


@commands.command("show")
@click.argument("operation_id", metavar="ID")
@with_options
@with_key
def show_command(operation_id: str, where: str | None, as_json: bool, key_file: Path | None) -> None:
    """Show one operation: its position, its file, its runs, what failed, what its state holds, and how to go on.

    \b
    --json: the keys of `list`, and
      bytes, journal_bytes
      command          what started the last run, if known
      loops            [{name, by, processed_items, total_items}], followed by key, position, or scattered: by
                       position, but done in any order
      failed           [{loop, key, error}], of which map(..., retry_failed=True) tries again
      state_keys       [{name, kind, entries, bytes}]
      history          [{run, began, ended, items, reason, host, pid, …}]
    """
    store = opened(where, key_file)
    summary = _known(store, operation_id)
    restored = read_all(store, operation_id) if summary.is_readable else None
    if as_json:
        print_json(as_json_object(summary) | details(summary, restored))
    else:
        print_show(make_console(), summary, restored, where)


def _known(store: CheckpointStore, operation_id: str) -> Summary:
    summary = summary_of(store, operation_id)
    if summary is None:
        raise click.ClickException(_not_found(store, operation_id))
    return summary


def _not_found(store: CheckpointStore, operation_id: str) -> str:
    name = printable(operation_id)
    if _is_owned(store, operation_id):
        return f"{name} is running, and has not saved yet"
    ids = list(dict.fromkeys(entry.key for entry in store.list()))
    close = difflib.get_close_matches(operation_id, ids, cutoff=0.5)
    hint = f"Did you mean: {', '.join(map(printable, close))}?" if close else "See: resumable list"
    return f"no checkpoint of {name} in {printable(_name(store))}. {hint if ids else 'There are none at all.'}"


def _is_owned(store: CheckpointStore, operation_id: str) -> bool:
    """Whether a run that has saved nothing yet works in this directory; no list has it."""
    place = store.describe()
    if not isinstance(place, Path) or not place.is_dir():
        return False
    try:
        store.claim(operation_id, Holder.me()).release()
    except CheckpointBusyError:
        return True
    except StoreError:
        pass
    return False


@commands.command("rm")
@click.argument("operation_ids", metavar="ID…", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_options
def rm_command(operation_ids: tuple[str, ...], yes: bool, where: str | None, as_json: bool) -> None:
    """Remove checkpoints, damaged ones too, so that the operations start over.

    Asks before, if a terminal is there to answer. One that is running is left alone. If any ID is unknown, nothing is
    removed.

    \b
    --json: {"removed": [ids], "failed": [{operation_id, problem}]}
    """
    store = opened(where)
    found = {operation_id: _known(store, operation_id) for operation_id in operation_ids}
    if not yes and _can_ask():
        for summary in found.values():
            position = f", {position_of(summary)}" if summary.is_readable else ""
            click.echo(f"{printable(summary.operation_id)}: {summary.state}{position}", err=True)
        click.confirm("Remove? This cannot be undone.", abort=True, err=True)
    failed = _remove(store, found)
    removed = [operation_id for operation_id in found if operation_id not in failed]
    if as_json:
        problems = [{"operation_id": one, "problem": problem} for one, problem in failed.items()]
        print_json({"removed": removed, "failed": problems})
    else:
        for operation_id in removed:
            click.echo(f"removed {printable(operation_id)}")
    for problem in failed.values():
        click.echo(f"Error: {printable(problem)}", err=True)
    if failed:
        sys.exit(1)


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _remove(store: CheckpointStore, found: dict[str, Summary]) -> dict[str, str]:
    """Remove them; returns what kept the others from being removed."""
    manager = CheckpointManager(store=store)
    failed: dict[str, str] = {}
    for operation_id, summary in found.items():
        try:
            if not manager.delete_checkpoint(operation_id) and summary.problem:
                failed[operation_id] = f"{operation_id} was not removed: {summary.problem}"
        except (ResumableError, ValueError) as error:
            failed[operation_id] = str(error)
    return failed


@commands.command("export")
@click.argument("operation_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@with_options
@with_key
def export_command(
    operation_id: str, output: Path | None, where: str | None, as_json: bool, key_file: Path | None
) -> None:
    """Print the whole checkpoint, journal included, as one plain JSON document of version 2.0.

    The document can be loaded by any program that knows the format, and is not encrypted. It holds the state and the
    metadata, but not what only this library needs: the places of loops and the history of runs.

    \b
    --json: the document itself; with --output, {"operation_id": text, "output": path, "bytes": number}
    """
    store = opened(where, key_file)
    restored = read_all(store, operation_id)
    if restored is None:
        raise click.ClickException(_not_found(store, operation_id))
    document = msgspec.json.format(msgspec.json.encode(plain_document(restored.data)), indent=2) + b"\n"
    if output is None or str(output) == "-":
        click.echo(document, nl=False)
        return
    _write(output, document)
    if as_json:
        print_json({"operation_id": operation_id, "output": str(output), "bytes": len(document)})
    else:
        click.echo(f"wrote {printable(str(output))} ({size(len(document))})", err=True)


def _write(output: Path, document: bytes) -> None:
    path = Path(os.path.realpath(output))
    try:
        if path.exists() and not path.is_file():  # a pipe or a device is written to, not replaced
            path.write_bytes(document)
        else:
            disk.replace(path, [document])
    except OSError as error:
        raise click.ClickException(f"cannot write {printable(str(output))}: {error.strerror or error}") from None


commands.add_command(verify_command)
commands.add_command(repair_command)
