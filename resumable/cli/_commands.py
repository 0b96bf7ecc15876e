"""The group of commands, and ``list``, ``show`` and ``completion``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from .._errors import ResumableError
from .._report.stored.scan import is_missing, name_of, not_there, nothing_in, read_all
from .._report.stored.shards import Sum, matches, sums_of
from .._report.stored.summary import Summary, summaries
from .._text import printable
from ..stores import CheckpointStore
from ._options import ids_for_the_shell, known, not_found, opened, the_only_one, with_key, with_options
from ._screens import as_json_object, make_console, print_json, print_list, print_sealed, print_sums, print_waiting
from ._show import details, print_show

_ON_DEMAND = {
    "copy": ("_copy", "copy_command"),
    "diff": ("_diff", "diff_command"),
    "export": ("_export", "export_command"),
    "pause": ("_control", "pause_command"),
    "repair": ("_verify_commands", "repair_command"),
    "report": ("_report", "report_command"),
    "resume": ("_control", "resume_command"),
    "retry-failed": ("_control", "retry_failed_command"),
    "rm": ("_removal", "rm_command"),
    "run": ("_run", "run_command"),
    "serve": ("_serve", "serve_command"),
    "stop": ("_control", "stop_command"),
    "tail": ("_watch", "tail_command"),
    "verify": ("_verify_commands", "verify_command"),
    "watch": ("_watch", "watch_command"),
}
"""The module and function of each command that is loaded only when it is called."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ON_DEMAND})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ON_DEMAND:
            return super().get_command(ctx, cmd_name)
        module, name = _ON_DEMAND[cmd_name]
        found: click.Command = getattr(import_module(f".{module}", __package__), name)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ResumableError, ValueError) as error:
            raise click.ClickException("\n".join(map(printable, str(error).splitlines()))) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="resumable-loops", prog_name="resumable")
def commands() -> None:
    """Look at the checkpoints of resumable loops, and remove or export them.

    Checkpoints lie in --dir, a directory or a URL; without it in $CHECKPOINT_STORE or $CHECKPOINT_DIR; without these in
    `dir` in [tool.resumable] of the nearest pyproject.toml; else in the current directory.

    Exit codes: 0 done; 1 not done, and stderr says why; 2 wrong arguments.

    \b
    resumable list                        all operations here
    resumable show crawl                  one operation, and how to go on
    resumable rm crawl                    remove its checkpoint: it starts over
    resumable run -- python job.py        run a job until it is done
    """


@commands.command("list", short_help="List operations: how far each one is, and when it was saved.")
@click.argument("patterns", metavar="[ID|PATTERN]…", nargs=-1, shell_complete=ids_for_the_shell)
@click.option("--all", "is_all", is_flag=True, help="In all places where your programs on this machine have saved.")
@click.option("--watch", "is_watched", is_flag=True, help="Refresh the list every second, until Ctrl-C.")
@click.option("--sum", "as_sums", is_flag=True, help="Show only sums, and operations that belong to none.")
@with_options
@with_key
def list_command(
    patterns: tuple[str, ...],
    is_all: bool,
    is_watched: bool,
    as_sums: bool,
    where: str | None,
    as_json: bool,
    key_file: Path | None,
) -> None:
    """List operations: how far each one is, and when it was last saved. Shards of one job are summed up below.

    LEFT is an estimate from the time of all runs, as of the last save.

    With PATTERN, such as 'job-*', the list shows the operations that match, and a sum for each PATTERN. Without one,
    ids that differ only in a number at their end, counted from 0 or 1, make a sum: job-0, job-1, or job/0, job/1. Dates
    and years make no sum. A shard counts while it has a checkpoint; to keep it when it is finished, use cp.keep() or
    auto_cleanup=False.

    \b
    resumable list
    resumable list 'shard-*' --sum
    resumable list --all

    \b
    --json: {"store": text, "checkpoints": [one object each], "sums": [one object each]}. A checkpoint has
      operation_id, location
      state            running, stopped, failed, killed, incomplete (ended, but items failed), finished, saved, damaged,
                       encrypted (and the right key was not given)
      processed_items, total_items, percent, left_seconds, elapsed_time
      created_at, last_updated                      UTC, ISO 8601
      save_count, last_save_reason, error_count, runs
      failed_items     items that failed, and have not been done since
      artifact_count, artifact_bytes                number and size of its artifacts
      problem          why it is damaged, or cannot be opened
      previous         where the save before it lies, if that one is good
      waits_for        the store that did not answer, so that it was saved here; the next run brings it there
    A sum has
      pattern, operation_ids
      states           number of operations by state
      processed_items, total_items, failed_items, percent, left_seconds, last_updated
      missing          numbers in between that have no checkpoint
    With --all: {"checkpoints": [with store], "unreached": [{"store": text, "problem": text}]}.
    Unknown values are null.
    """

    def is_chosen(operation_id: str) -> bool:
        return not patterns or any(matches(operation_id, pattern) for pattern in patterns)

    if is_watched:
        from ._watch import watch_list

        watch_list(opened(where, key_file), is_chosen, is_all=is_all)
    elif is_all:
        from ._watch import print_everywhere

        print_everywhere(as_json, is_chosen)
    else:
        _list(
            opened(where, key_file), is_chosen, patterns, is_named=where is not None, as_sums=as_sums, as_json=as_json
        )


def _list(
    store: CheckpointStore,
    is_chosen: Callable[[str], bool],
    patterns: Sequence[str],
    *,
    is_named: bool,
    as_sums: bool,
    as_json: bool,
) -> None:
    if is_named and is_missing(store):
        raise click.ClickException(not_there(store))
    chosen = [one for one in summaries(store) if is_chosen(one.operation_id)]
    sums = sums_of(chosen, patterns)
    summed = {operation_id for one in sums for operation_id in one.operation_ids} if as_sums else set[str]()
    found = [one for one in chosen if one.operation_id not in summed]
    if as_json:
        shown = {"checkpoints": list(map(as_json_object, found)), "sums": list(map(as_json_object, sums))}
        print_json({"store": name_of(store)} | shown)
    elif chosen:
        _print_all(chosen, found, sums, store)
    elif patterns:
        raise click.ClickException(not_found(store, " ".join(patterns)))
    else:
        click.echo(nothing_in(store))


def _print_all(chosen: list[Summary], found: list[Summary], sums: list[Sum], store: CheckpointStore) -> None:
    console = make_console()
    if found:
        print_list(console, found, store)
    if sums:
        print_sums(console, sums, is_first=not found)
    print_sealed(console, chosen)
    print_waiting(console, chosen)


@commands.command("show", short_help="Show one operation: its runs, failures, state, and how to go on.")
@click.argument("operation_id", metavar="[ID]", required=False, shell_complete=ids_for_the_shell)
@with_options
@with_key
def show_command(operation_id: str | None, where: str | None, as_json: bool, key_file: Path | None) -> None:
    """Show one operation: its position, its file, its runs, what failed, what its state holds, and how to go on.

    Without ID it shows the only operation.

    \b
    resumable show crawl
    resumable show --json | jq .failed

    \b
    --json: the keys of `list`, and
      bytes, journal_bytes
      command          what started the last run, if known
      loops            [{name, by, processed_items, total_items}]; by is how done items are counted: key, position,
                       scattered (by position, in any order), or pages, then with page and cursor
      failed           [{loop, key, error}]; retry_failed=True tries them again
      once             the number of effects that happened, and the keys of those that are unknown
      state_keys       [{name, kind, entries, bytes}]
      artifacts        [{name, bytes, sha256, written_at, published}]; published is a path or null
      history          [{run, began, ended, items, reason, host, pid, …}]
    """
    store = opened(where, key_file)
    summary = the_only_one(store) if operation_id is None else known(store, operation_id)
    restored = read_all(store, summary.operation_id) if summary.is_readable else None
    if as_json:
        print_json(as_json_object(summary) | details(summary, restored))
    else:
        print_show(make_console(), store, summary, restored, where)


@commands.command("completion", short_help="Print a script that completes commands and ids in your shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print a script that completes commands, options and operation ids.

    \b
    eval "$(resumable completion bash)"                           in ~/.bashrc
    eval "$(resumable completion zsh)"                            in ~/.zshrc
    resumable completion fish > ~/.config/fish/completions/resumable.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(commands, {}, "resumable", "_RESUMABLE_COMPLETE").source())
