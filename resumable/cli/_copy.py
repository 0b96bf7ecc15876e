"""``resumable copy``: operations from one store into another."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from .._errors import ResumableError, StoreError
from .._format.anywhere import Copied, copy
from .._format.document import is_encrypted
from .._report.stored.scan import ids_in, is_missing, nothing_in
from .._report.stored.shards import matches
from .._text import printable
from ..stores import CheckpointStore, EncryptedStore
from ._options import chosen_store, key_given, key_in, with_key
from ._screens import print_json


@click.command("copy", short_help="Copy operations into another store, or move them.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.argument("patterns", metavar="[ID|PATTERN]…", nargs=-1)
@click.option("--move", is_flag=True, help="Then remove them from FROM.")
@click.option("--force", is_flag=True, help="Replace checkpoints in TO, even newer ones.")
@with_key
@click.option(
    "--new-key-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Encrypt them in TO with the key in FILE.",
)
@click.option("--decrypt", is_flag=True, help="Store them in TO as plain text.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def copy_command(
    source: str,
    target: str,
    patterns: tuple[str, ...],
    move: bool,
    force: bool,
    as_json: bool,
    key_file: Path | None,
    new_key_file: Path | None,
    decrypt: bool,
) -> None:
    """Copy operations from one place into another: directories and URLs, as `store=` takes them.

    Quote PATTERN, such as 'shard-*'; without one, all are copied. Each copy is compared with its source. A newer
    checkpoint in TO is left alone, and so is a running operation with --move. Encrypted checkpoints stay encrypted; to
    change the key, give --key-file and --new-key-file.

    \b
    resumable copy . postgresql://host/database crawl
    resumable copy s3://bucket/old 's3://bucket/new?compress=zstd' --move

    \b
    --json: {"copied": [{operation_id, location, bytes, artifacts, moved}], "failed": [{operation_id, problem}]}
    """
    origin, goal, now = chosen_store(source), chosen_store(target), datetime.now(UTC)
    keys = _Keys(key_given(key_file), key_in(new_key_file), decrypt)
    done, failed = list[Copied](), dict[str, str]()
    ids = _chosen(ids_in(origin), patterns, str(origin.describe()))
    if is_missing(origin):
        raise click.ClickException(nothing_in(origin))
    for operation_id in ids:
        try:
            layers = keys.over(origin, goal, operation_id)
            done.append(copy(*layers, operation_id, now=now, move=move, is_forced=force))
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


@dataclass(frozen=True, slots=True)
class _Keys:
    """The key that opens encrypted checkpoints in FROM, and the key that encrypts in TO."""

    old: str | None
    new: str | None
    decrypts: bool

    def over(
        self, origin: CheckpointStore, goal: CheckpointStore, operation_id: str
    ) -> tuple[CheckpointStore, CheckpointStore]:
        """The two stores, with encryption where the copy of *operation_id* needs it.

        Raises:
            StoreError: It is encrypted, and its key was not given.
        """
        stored = origin.read(operation_id)
        is_sealed = stored is not None and is_encrypted(stored.snapshot)
        if is_sealed and self.old is None and (self.new is not None or self.decrypts):
            raise StoreError(f"{operation_id!r} is encrypted; give its key with --key-file FILE or in $RESUMABLE_KEY")
        new = None if self.decrypts else self.new or (self.old if is_sealed else None)
        return (
            EncryptedStore(origin, self.old) if is_sealed and self.old else origin,
            EncryptedStore(goal, new) if new else goal,
        )


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
