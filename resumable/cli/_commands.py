"""The commands: what they take, and what they answer."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from .._errors import ResumableError
from .._report.scan import is_missing, name_of, not_there, nothing_in, read_all
from .._report.shards import matches, sums_of
from .._report.summary import summaries
from .._text import printable
from ._export import export_command
from ._options import ids_for_the_shell, known, not_found, opened, the_only_one, with_key, with_options
from ._removal import rm_command
from ._screens import as_json_object, make_console, print_json, print_list, print_sealed, print_sums, print_waiting
from ._show import details, print_show
from ._verify_commands import repair_command, verify_command

_ON_DEMAND = {
    "copy": ("_copy", "copy_command"),
    "diff": ("_diff", "diff_command"),
    "pause": ("_control", "pause_command"),
    "report": ("_report", "report_command"),
    "resume": ("_control", "resume_command"),
    "retry-failed": ("_control", "retry_failed_command"),
    "run": ("_run", "run_command"),
    "serve": ("_serve", "serve_command"),
    "stop": ("_control", "stop_command"),
    "tail": ("_watch", "tail_command"),
    "watch": ("_watch", "watch_command"),
}
"""Commands that are loaded when they are called: by name, where they are."""


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

    They are looked for in --dir, a directory or a URL, else in $CHECKPOINT_STORE or $CHECKPOINT_DIR, else where `dir`
    in [tool.resumable] of the nearest pyproject.toml says, else here.

    Exit codes: 0 done, 1 not done (stderr says why), 2 called wrongly.

    \b
    resumable list                        all operations here
    resumable show crawl                  one of them, and how to go on
    resumable rm crawl                    start it over
    resumable run -- python job.py        run a job until it is done
    """


@commands.command("list", short_help="List operations: how far each is, and when it was saved.")
@click.argument("patterns", metavar="[ID|PATTERN]…", nargs=-1, shell_complete=ids_for_the_shell)
@click.option("--all", "is_all", is_flag=True, help="All places that your programs have saved to on this machine.")
@click.option("--watch", "is_watched", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--sum", "as_sums", is_flag=True, help="Leave out what is in a sum.")
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
    """Show operations: how far each one is, and when it was saved last; then the sums of those that are shards.

    LEFT is estimated from the time that all runs took, as of the last save.

    With PATTERN, such as 'job-*', what matches is shown, and summed up for each PATTERN. Without one, a sum is made of
    two or more ids that differ only in a number at their end that counts from 0 or 1: job-0, job-1, or job/0, job/1.
    No sum is made of dates and years. A shard counts as long as it has a checkpoint: keep that of one that is finished,
    by cp.keep() or auto_cleanup=False.

    \b
    resumable list
    resumable list 'shard-*' --sum
    resumable list --all

    \b
    --json: {"store": text, "checkpoints": [one object each], "sums": [one object each]}, a checkpoint with
      operation_id, location
      state            running, stopped, failed, killed, incomplete (it ended well, but items failed), finished, saved,
                       damaged, encrypted (and no key was given that opens it)
      processed_items, total_items, percent, left_seconds, elapsed_time
      created_at, last_updated                      UTC, ISO 8601
      save_count, last_save_reason, error_count, runs
      failed_items     that map gave up, and has not done since
      artifact_count, artifact_bytes                how many files go with it, and their size
      problem          why it is damaged, or cannot be opened
      previous         where the save before it lies, if that one is good
      waits_for        the store that was away when it was saved here; the next run brings it there
    and a sum with
      pattern, operation_ids
      states           how many are in which state
      processed_items, total_items, failed_items, percent, left_seconds, last_updated
      missing          numbers in between that have no checkpoint
    with --all: {"checkpoints": [with store], "unreached": [{"store": text, "problem": text}]}.
    What is not known is null.
    """

    def is_chosen(operation_id: str) -> bool:
        return not patterns or any(matches(operation_id, pattern) for pattern in patterns)

    if is_all or is_watched:
        from . import _watch

        if is_watched:
            _watch.watch_list(opened(where, key_file), is_chosen, is_all=is_all)
        else:
            _watch.print_everywhere(as_json, is_chosen)
        return
    store = opened(where, key_file)
    if where is not None and is_missing(store):
        raise click.ClickException(not_there(store))
    chosen = [one for one in summaries(store) if is_chosen(one.operation_id)]
    found, sums = chosen, sums_of(chosen, patterns)
    if as_sums:
        summed = {operation_id for one in sums for operation_id in one.operation_ids}
        found = [one for one in chosen if one.operation_id not in summed]
    if as_json:
        shown = {"checkpoints": list(map(as_json_object, found)), "sums": list(map(as_json_object, sums))}
        print_json({"store": name_of(store)} | shown)
        return
    console = make_console()
    if found:
        print_list(console, found, store)
    if sums:
        print_sums(console, sums, is_first=not found)
    print_sealed(console, chosen)
    print_waiting(console, chosen)
    if not found and not sums:
        if patterns:
            raise click.ClickException(not_found(store, " ".join(patterns)))
        click.echo(nothing_in(store))


@commands.command("show", short_help="Show one operation: its runs, failures, state, and how to go on.")
@click.argument("operation_id", metavar="[ID]", required=False, shell_complete=ids_for_the_shell)
@with_options
@with_key
def show_command(operation_id: str | None, where: str | None, as_json: bool, key_file: Path | None) -> None:
    """Show one operation: its position, its file, its runs, what failed, what its state holds, and how to go on.

    ID may be left out where there is only one.

    \b
    resumable show crawl
    resumable show --json | jq .failed

    \b
    --json: the keys of `list`, and
      bytes, journal_bytes
      command          what started the last run, if known
      loops            [{name, by, processed_items, total_items}], followed by key, position, or scattered: by
                       position, but done in any order; or by pages, then with page and cursor, too
      failed           [{loop, key, error}], of which map(..., retry_failed=True) tries again
      once             how many effects happened, and the keys of those that are unknown
      state_keys       [{name, kind, entries, bytes}]
      artifacts        [{name, bytes, sha256, written_at, published}]; published is where it was published to, or null
      history          [{run, began, ended, items, reason, host, pid, …}]
    """
    store = opened(where, key_file)
    summary = the_only_one(store) if operation_id is None else known(store, operation_id)
    restored = read_all(store, summary.operation_id) if summary.is_readable else None
    if as_json:
        print_json(as_json_object(summary) | details(summary, restored))
    else:
        print_show(make_console(), summary, restored, where)


commands.add_command(export_command)
commands.add_command(rm_command)
commands.add_command(verify_command)
commands.add_command(repair_command)


@commands.command("completion", short_help="Print what completes commands and ids in your shell.")
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
