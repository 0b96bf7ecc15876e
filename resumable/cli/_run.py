"""``resumable run``: runs a job until it is done, or a command for each line of a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .._errors import RUN_AGAIN
from .._text import printable

_INTERRUPTED = 130
_WITH_ITEMS, _WITHOUT_ITEMS = "With --items: ", "Without --items: "


def _seconds(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not value >= 0:
        raise click.BadParameter("must be >= 0 seconds")
    return value


def most_failed(text: str) -> float:
    """The value of ``--max-failed``: ``10`` items, or ``5%`` of them as a share."""
    found = re.fullmatch(r"(\d+)(%?)", text)
    if found is None or (found[2] and int(found[1]) > 100):
        raise click.BadParameter(f"{text!r} is neither a number of items, such as 10, nor a share of them, such as 5%")
    return int(found[1]) / 100 if found[2] else int(found[1])


class _RunCommand(click.Command):
    """The beginning of an option's help says which of the two uses it belongs to."""

    def invoke(self, ctx: click.Context) -> Any:
        has_items = ctx.params["items"] is not None
        for option in self.params:
            if not isinstance(option, click.Option) or option.name is None or not _was_given(ctx, option.name):
                continue
            if not has_items and str(option.help).startswith(_WITH_ITEMS):
                raise click.UsageError(f"{option.opts[-1]} works only with --items FILE", ctx)
            if has_items and str(option.help).startswith(_WITHOUT_ITEMS):
                raise click.UsageError(f"{option.opts[-1]} does not work with --items; use --retries", ctx)
        return super().invoke(ctx)


def _was_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


@click.command(
    "run",
    cls=_RunCommand,
    short_help="Run a job until it is done, or a command for each line of a file.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", metavar="-- COMMAND…", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--tries",
    type=click.IntRange(1),
    metavar="N",
    default=3,
    help="Without --items: give up after N runs without progress (default: 3).",
)
@click.option(
    "--backoff",
    type=float,
    metavar="SECONDS",
    default=1.0,
    callback=_seconds,
    help="Without --items: wait this long before the next run (default: 1).",
)
@click.option("--on-done", metavar="CMD", help="Shell command to run when the job is done.")
@click.option("--on-fail", metavar="CMD", help="Shell command to run when the job is given up, or items failed.")
@click.option("--items", metavar="FILE", help="Run COMMAND for each line of FILE; '-' is standard input.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    help="With --items: run N at a time (default: 1).",
)
@click.option(
    "--joblog",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --items: write a line for each command that ended.",
)
@click.option("--retry-failed", is_flag=True, help="With --items: try again the items that failed in earlier runs.")
@click.option(
    "--retries",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    help="With --items: try each item N times at most (default: 1).",
)
@click.option("--max-failed", type=most_failed, metavar="N|N%", help="With --items: stop when more items failed.")
@click.option("--any-order", is_flag=True, help="With --items: lines may be moved, added and removed between runs.")
@click.option("--shell", "is_shell", is_flag=True, help="With --items: run COMMAND as a text in the shell.")
@click.option(
    "--id", "operation_id", metavar="ID", help="With --items: the operation's id (default: made of COMMAND and FILE)."
)
@click.option("--dir", "--store", "where", metavar="DIR", help="With --items: where the checkpoint lies.")
@click.option("--no-progress", is_flag=True, help="With --items: show no bar.")
def run_command(
    command: tuple[str, ...],
    tries: int,
    backoff: float,
    on_done: str | None,
    on_fail: str | None,
    items: str | None,
    jobs: int,
    joblog: Path | None,
    retry_failed: bool,
    retries: int,
    max_failed: float | None,
    any_order: bool,
    is_shell: bool,
    operation_id: str | None,
    where: str | None,
    no_progress: bool,
) -> None:
    """Run a job again and again until it is done.

    A job that crashes or is killed runs again after --backoff seconds; the wait doubles while the job makes no
    progress. After exit code 75 it waits until the API's quota is fresh. It gives up after --tries runs without
    progress, or after as many runs that one item ended, and names the item.

    After a kill without progress the job saves after each item, to find the one that kills it. Signals are passed on
    to the job. On Linux the job gets SIGTERM when this program is killed.

    A job that exits with 0 is done, even if it left its loop by break. If a limit= ended its loop, it runs again.

    \b
    resumable run -- python job.py
    resumable run --on-fail 'mail -s "$RESUMABLE_WHY" me' -- python job.py

    With --items it runs COMMAND for each line of FILE, -j at a time. {} in COMMAND is the line; without {} the line is
    the last argument. Items of find -print0 may have several lines. A kill ends the commands, too. Run it again, and
    it goes on with the lines that are left. Lines may be added at the end of FILE. For other changes, give --any-order
    from the first run on.

    \b
    resumable run -j8 --items urls.txt --joblog log.tsv -- curl -sSfO {}

    \b
    Exit codes: 0 done; 75 stopped by a signal, its time limit or `resumable stop`, run it again; 130 after Ctrl-C;
    the job's own code or 1 if it was given up; 1 if items failed; 126 or 127 if the command cannot be run.
    systemd:  SuccessExitStatus=75, and Restart=on-failure with RestartPreventExitStatus=1
    Slurm:    resumable run -- python job.py; [ $? = 75 ] && scontrol requeue $SLURM_JOB_ID
    """
    from ._supervise import run_hook, supervise

    if items is None:
        sys.exit(supervise(command, tries=tries, backoff=backoff, on_done=on_done, on_fail=on_fail))
    from ._each import Each, id_for

    lines = _lines_for(command, items, is_shell=is_shell)
    each = Each(command, is_shell, jobs, joblog, retries, max_failed, retry_failed, any_order)
    operation_id = operation_id or id_for(items, command)
    code = _code_of(partial(each.run, lines, operation_id, store=where, progress=not no_progress))
    hook, what = {0: on_done, 1: on_fail}.get(code), "given up" if code else "done"
    run_hook(hook, what, each.why, command, {"RESUMABLE_RUNS": "1", "RESUMABLE_ID": operation_id})
    sys.exit(code)


def _lines_for(command: Sequence[str], items: str, *, is_shell: bool) -> list[str]:
    """The items in the file *items*. Exits if *command* cannot be run."""
    from ._each import read_items, why_not

    try:
        lines = read_items(items)
    except OSError as error:
        raise click.ClickException(f"cannot read {printable(items)}: {error.strerror or error}") from None
    if not is_shell and (code := why_not(command)):
        problem = "no such command" if code == 127 else "it is not executable"
        click.echo(f"resumable run: cannot run {printable(command[0]) or repr('')}: {problem}", err=True)
        sys.exit(code)
    return lines


def _code_of(run: Callable[[], int]) -> int:
    """The exit code of *run*, which a signal may end."""
    try:
        return run()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit:  # another signal
        return RUN_AGAIN
