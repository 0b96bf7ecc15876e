"""The command ``resumable run``, which runs a job until it is done, or a command for each line of a file."""

from __future__ import annotations

import re
import sys
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
    """``10`` items, or ``5%`` of them as a share."""
    found = re.fullmatch(r"(\d+)(%?)", text)
    if found is None or (found[2] and int(found[1]) > 100):
        raise click.BadParameter(f"{text!r} is neither a number of items nor a share such as 5%")
    return int(found[1]) / 100 if found[2] else int(found[1])


class _RunCommand(click.Command):
    """Options say to which of the two uses they belong, by how their help begins."""

    def invoke(self, ctx: click.Context) -> Any:
        has_items = ctx.params["items"] is not None
        for option in self.params:
            if not isinstance(option, click.Option) or option.name is None or not _was_given(ctx, option.name):
                continue
            if not has_items and str(option.help).startswith(_WITH_ITEMS):
                raise click.UsageError(f"{option.opts[-1]} is for --items FILE, which is not given")
            if has_items and str(option.help).startswith(_WITHOUT_ITEMS):
                raise click.UsageError(
                    f"{option.opts[-1]} is for a job, and has no meaning with --items; see --retries"
                )
        return super().invoke(ctx)


def _was_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


@click.command(
    "run",
    cls=_RunCommand,
    short_help="Run a job until it is done; or a command for each line of a file.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", metavar="-- COMMAND…", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--tries",
    type=click.IntRange(1),
    default=3,
    help="Without --items: give up after this many runs without progress: 3.",
)
@click.option(
    "--backoff", type=float, default=1.0, callback=_seconds, help="Without --items: seconds before it runs again: 1."
)
@click.option("--on-done", metavar="CMD", help="Shell command to run once it is done.")
@click.option("--on-fail", metavar="CMD", help="Shell command to run once it is given up, or items have failed.")
@click.option("--items", metavar="FILE", help="Run COMMAND for each line of FILE, '-' for standard input.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, help="With --items: how many at a time: 1.")
@click.option("--joblog", type=click.Path(dir_okay=False, path_type=Path), help="With --items: a table of what ended.")
@click.option("--retry-failed", is_flag=True, help="With --items: try again what failed in earlier runs.")
@click.option("--retries", type=click.IntRange(1), default=1, help="With --items: how often each is tried: 1.")
@click.option("--max-failed", type=most_failed, metavar="N|N%", help="With --items: end once more have failed.")
@click.option("--any-order", is_flag=True, help="With --items: lines may move, come and go between runs.")
@click.option("--shell", "is_shell", is_flag=True, help="With --items: COMMAND is a text for the shell.")
@click.option("--id", "operation_id", metavar="ID", help="With --items: the operation's id; else made of both names.")
@click.option("--dir", "--store", "where", metavar="DIR", help="With --items: where the checkpoint lies.")
@click.option("--no-progress", is_flag=True, help="With --items: no bar.")
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

    After a crash, a kill for want of memory or a preemption it runs again, after --backoff seconds, and after twice as
    long each time that it makes no progress. After exit code 75 it waits until the API's quota is fresh. It gives up
    after --tries runs without progress, or that one and the same item has ended, and says which.
    After a kill without progress each item is saved, so that it is known which one kills. Signals are passed on to the
    job; it gets SIGTERM, too, when this program is killed (on Linux).
    A job that exits with 0 is done, though it may have left its loop by break; only one that a limit= has ended is run
    again.

    \b
    resumable run -- python job.py
    resumable run --on-fail 'mail -s "$RESUMABLE_WHY" me' -- python job.py

    With --items it runs COMMAND for each line of FILE instead, -j at a time; {} is the line, or it comes last. Items
    that find -print0 writes may have lines themselves.
    A kill ends its commands, too. Run again, it goes on with the lines that are left. The file may get more lines at
    its end; give --any-order from the first run on if it may change in other ways.

    \b
    resumable run -j8 --items urls.txt --joblog log.tsv -- curl -sSfO {}

    \b
    Exit codes: 0 done; 75 stopped by a signal or at the end of its time, run it again; 130 after Ctrl-C; the job's own
    code, or 1, if it was given up; 1 if items failed; 126 and 127 if the command cannot be run.
    systemd:  SuccessExitStatus=75, and Restart=on-failure with RestartPreventExitStatus=1
    Slurm:    resumable run -- python job.py; [ $? = 75 ] && scontrol requeue $SLURM_JOB_ID
    """
    from ._supervise import run_hook, supervise

    if items is None:
        sys.exit(supervise(command, tries=tries, backoff=backoff, on_done=on_done, on_fail=on_fail))
    from ._each import Each, id_for, read_items, why_not

    try:
        lines = read_items(items)
    except OSError as error:
        raise click.ClickException(f"cannot read {printable(items)}: {error.strerror or error}") from None
    if not is_shell and (code := why_not(command)):
        problem = "no such command" if code == 127 else "it is not executable"
        click.echo(f"resumable run: cannot run {printable(command[0]) or repr('')}: {problem}", err=True)
        sys.exit(code)
    each = Each(command, is_shell, jobs, joblog, retries, max_failed, retry_failed, any_order)
    operation_id = operation_id or id_for(items, command)
    try:
        code = each.run(lines, operation_id, store=where, progress=not no_progress)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except SystemExit:  # another signal
        code = RUN_AGAIN
    hook = {0: on_done, 1: on_fail}.get(code)
    run_hook(
        hook, "given up" if code else "done", each.why, command, {"RESUMABLE_RUNS": "1", "RESUMABLE_ID": operation_id}
    )
    sys.exit(code)
