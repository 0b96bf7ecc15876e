"""``resumable rm``: chooses checkpoints, and removes them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

from .._errors import ResumableError
from .._report.stored.shards import matches
from .._report.stored.summary import Summary, age_of, summaries
from .._report.stored.wording import position_of
from .._text import printable
from ..stores import CheckpointStore
from ._options import ids_for_the_shell, known, opened, with_options
from ._screens import print_json

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WILD = frozenset("*?[")


def age(text: str) -> float:
    """The seconds of a duration such as ``30d``, ``12h`` or ``90m``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a duration; write 30d, 12h, 90m, 45s or 2w")
    return float(found[1]) * _UNITS[found[2]]


@click.command("rm", short_help="Remove checkpoints, so that the operations start over.")
@click.argument("patterns", metavar="[ID|PATTERN]…", nargs=-1, shell_complete=ids_for_the_shell)
@click.option("--finished", is_flag=True, help="Only finished ones.")
@click.option(
    "--older-than", type=age, metavar="AGE", help="Only those last saved longer ago than this: 30d, 12h, 90m."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_options
def rm_command(
    patterns: tuple[str, ...], finished: bool, older_than: float | None, yes: bool, where: str | None, as_json: bool
) -> None:
    """Remove checkpoints, damaged ones too, so that the operations start over.

    Quote PATTERN, such as 'shard-*'. Without one, --finished and --older-than choose among all. On a terminal it asks
    first. It leaves running operations alone. If any ID is unknown, it removes nothing.

    \b
    resumable rm crawl
    resumable rm 'shard-*' --yes
    resumable rm --finished --older-than 30d

    \b
    --json: {"removed": [ids], "failed": [{operation_id, problem}]}
    """
    if not patterns and not finished and older_than is None:
        raise click.UsageError("say which ones: ID, 'PATTERN', --finished or --older-than; '*' means all")
    store = opened(where)
    found = _chosen(store, patterns)
    if finished:
        found = {name: one for name, one in found.items() if one.state == "finished"}
    if older_than is not None:
        found = {name: one for name, one in found.items() if _is_older(one, older_than)}
    if found and not yes and _can_ask():
        _ask(found)
    _tell(found, _remove(store, found), as_json=as_json)


def _chosen(store: CheckpointStore, patterns: Sequence[str]) -> dict[str, Summary]:
    """The operations that match *patterns*; without any, all. Raises :class:`click.ClickException` if one matches "
    "none."""
    everything = {one.operation_id: one for one in summaries(store)} if not patterns or _any_wild(patterns) else {}
    if not patterns:
        return everything
    found: dict[str, Summary] = {}
    for pattern in patterns:
        matching = {name: one for name, one in everything.items() if matches(name, pattern)}
        found |= matching or {pattern: known(store, pattern)}
    return found


def _any_wild(patterns: Sequence[str]) -> bool:
    return any(_WILD & set(pattern) for pattern in patterns)


def _is_older(one: Summary, seconds: float) -> bool:
    return one.last_updated is not None and age_of(one.last_updated) >= seconds


def _ask(found: dict[str, Summary]) -> None:
    for summary in found.values():
        position = f", {position_of(summary)}" if summary.is_readable else ""
        click.echo(f"{printable(summary.operation_id)}: {summary.state}{position}", err=True)
    click.confirm("Remove? This cannot be undone.", abort=True, err=True)


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _remove(store: CheckpointStore, found: dict[str, Summary]) -> dict[str, str]:
    """Remove them. Returns why others could not be removed."""
    from .._api.manager import CheckpointManager

    manager = CheckpointManager(store=store)
    failed: dict[str, str] = {}
    for operation_id, summary in found.items():
        try:
            if not manager.delete_checkpoint(operation_id) and summary.problem:
                failed[operation_id] = f"{operation_id} was not removed: {summary.problem}"
        except (ResumableError, ValueError) as error:
            failed[operation_id] = str(error)
    return failed


def _tell(found: dict[str, Summary], failed: dict[str, str], *, as_json: bool) -> None:
    removed = [operation_id for operation_id in found if operation_id not in failed]
    if as_json:
        problems = [{"operation_id": one, "problem": problem} for one, problem in failed.items()]
        print_json({"removed": removed, "failed": problems})
    elif not found:
        click.echo("nothing to remove", err=True)
    else:
        for operation_id in removed:
            click.echo(f"removed {printable(operation_id)}")
    for problem in failed.values():
        click.echo(f"Error: {printable(problem)}", err=True)
    if failed:
        sys.exit(1)
