"""``resumable copy``: operations from one store into another."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from .._errors import ResumableError
from .._format.anywhere import Copied, copy
from .._report.scan import ids_in, is_missing, nothing_in
from .._report.shards import matches
from .._text import printable
from ._options import chosen_store
from ._screens import print_json


@click.command("copy", short_help="Copy operations into another store, or move them.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.argument("patterns", metavar="[ID|PATTERN]…", nargs=-1)
@click.option("--move", is_flag=True, help="Remove them from FROM, once they stand in TO.")
@click.option("--force", is_flag=True, help="Replace newer ones in TO, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def copy_command(source: str, target: str, patterns: tuple[str, ...], move: bool, force: bool, as_json: bool) -> None:
    """Copy operations from one place into another: directories and URLs, as `store=` takes them.

    PATTERN is quoted, such as 'shard-*'; without any, all are copied. Each is compared afterwards. One that is newer in
    TO is left alone. With --move, one that is running is left alone, too.

    \b
    resumable copy . postgresql://host/database crawl
    resumable copy s3://bucket/old 's3://bucket/new?compress=zstd' --move

    \b
    --json: {"copied": [{operation_id, location, bytes, artifacts, moved}], "failed": [{operation_id, problem}]}
    """
    origin, goal, now = chosen_store(source), chosen_store(target), datetime.now(UTC)
    done, failed = list[Copied](), dict[str, str]()
    ids = _chosen(ids_in(origin), patterns, str(origin.describe()))
    if is_missing(origin):
        raise click.ClickException(nothing_in(origin))
    for operation_id in ids:
        try:
            done.append(copy(origin, goal, operation_id, now=now, move=move, is_forced=force))
        except (ResumableError, ValueError) as error:
            failed[operation_id] = str(error)
    if as_json:
        print_json({"copied": [*map(_to_dict, done)], "failed": [_failure(*one) for one in failed.items()]})
    for one in () if as_json else done:
        click.echo(f"{'moved' if move else 'copied'} {printable(one.operation_id)}, {one.size:,} bytes")
    if not ids and not as_json:
        click.echo(nothing_in(origin))
    for text in () if as_json else failed.values():
        click.echo(f"Error: {printable(text)}", err=True)
    if failed:
        sys.exit(1)


def _chosen(ids: list[str], patterns: tuple[str, ...], place: str) -> list[str]:
    unknown = [pattern for pattern in patterns if not any(matches(one, pattern) for one in ids)]
    if unknown:
        raise click.ClickException(f"no checkpoint of {', '.join(map(printable, unknown))} in {printable(place)}")
    return [one for one in ids if not patterns or any(matches(one, pattern) for pattern in patterns)]


def _to_dict(one: Copied) -> dict[str, object]:
    told = {"operation_id": one.operation_id, "location": one.location, "bytes": one.size}
    return told | {"artifacts": one.artifacts, "moved": one.is_moved}


def _failure(operation_id: str, problem: str) -> dict[str, object]:
    return {"operation_id": operation_id, "problem": problem}
