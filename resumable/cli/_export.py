"""``resumable export``: a checkpoint as one JSON document, or one of its collections as a table."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from .._json import to_exact_json
from .._report.stored import frames
from .._report.stored.contents import plain_document
from .._report.stored.reading import CheckpointView, held_in, table_in, tables_of, view_of
from .._report.stored.scan import read_all
from .._report.stored.table import KEY, Table
from .._report.stored.wording import size
from .._runtime import disk
from .._text import printable
from ._options import ids_for_the_shell, not_found, opened, with_key, with_options
from ._screens import print_json

_TABLES: dict[str, Callable[[Table], Iterable[bytes]]] = {
    "jsonl": frames.jsonl_pieces,
    "csv": frames.csv_pieces,
    "parquet": lambda table: [frames.to_parquet(table)],
}
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


@click.command("export", short_help="Print a checkpoint as JSON, or a collection as JSON lines, CSV or Parquet.")
@click.argument("operation_id", metavar="ID", shell_complete=ids_for_the_shell)
@click.option(
    "--format", "format_", type=click.Choice(["json", *_TABLES]), help="Default: by the suffix of --output, else json."
)
@click.option("--of", metavar="NAME", help="Which mapping, log or set. With json: only that.")
@click.option(
    "--key-column", metavar="NAME", help=f"Name of the column of a mapping's keys (default: {KEY}); '' leaves it out."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@with_options
@with_key
def export_command(
    operation_id: str,
    format_: str | None,
    of: str | None,
    key_column: str | None,
    output: Path | None,
    where: str | None,
    as_json: bool,
    key_file: Path | None,
) -> None:
    """Print the last save of a checkpoint, also while the operation runs.

    json prints the whole checkpoint as one plain document of version 2.0, which any program that knows the format can
    load. It is not encrypted. It has the state and the metadata, without the positions of loops and the history of
    runs, which only this library needs. NaN and infinity are {"$float": "nan"} and {"$float": "inf"}; the document says
    so, and loads as it was.

    jsonl, csv and parquet print a mapping, log or set, or a dict or list in the plain state: a row for each entry.
    --of may be left out if there is only one. Records, which are dicts, have a column for each field; other values have
    a column 'value'. The keys of a mapping have a column 'key'. parquet needs pyarrow.

    In csv, a cell is the text or number as it is, NaN and inf too; null is an empty cell; true, false, lists and dicts
    are JSON. In jsonl, NaN is {"$float": "nan"}; in parquet it is NaN. Spreadsheets read a text that begins with = + -
    or @ as a formula: import data from strangers as text.

    \b
    resumable export crawl | jq .state
    resumable export crawl --of files -o files.csv
    resumable export crawl --of rows --format jsonl | head

    \b
    --json: the document itself; with --output, {"operation_id": text, "output": path, "bytes": number}
    """
    to_file = output is not None and str(output) != "-"
    format_ = format_ or (_ENDINGS.get(output.suffix.lower()) if output is not None else None) or "json"
    if as_json and format_ != "json" and not to_file:
        raise click.UsageError(f"--json with --format {format_} needs --output FILE")
    if format_ == "parquet" and not to_file and sys.stdout.isatty():
        raise click.UsageError("parquet is not text for a terminal; give --output FILE")
    store = opened(where, key_file)
    restored = read_all(store, operation_id)
    if restored is None:
        raise click.ClickException(not_found(store, operation_id))
    if format_ == "json" and of is None:
        pieces: Iterable[bytes] = [msgspec.json.format(plain_document(restored.data), indent=2), b"\n"]
    else:
        pieces = _pieces(view_of(restored), format_, of, KEY if key_column is None else key_column or None)
    if output is None or not to_file:
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    count = _write(output, pieces)
    if as_json:
        print_json({"operation_id": operation_id, "output": str(output), "bytes": count})
    else:
        click.echo(f"wrote {printable(str(output))} ({size(count)})", err=True)


def _pieces(view: CheckpointView, format_: str, of: str | None, key_column: str | None) -> Iterable[bytes]:
    names = list(map(printable, tables_of(view)))
    if of is None and len(names) > 1:
        raise click.UsageError(f"say which one, with --of: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}")
    if format_ == "json":
        held = held_in(view, of)
        return [_as_json(Table(held).members() if isinstance(held, set) else held)]
    try:
        return _TABLES[format_](table_in(view, of, key_column))
    except ModuleNotFoundError as error:
        raise click.ClickException(str(error)) from None


def _as_json(value: Any) -> bytes:
    return msgspec.json.format(to_exact_json(value), indent=2) + b"\n"


def _write(output: Path, pieces: Iterable[bytes]) -> int:
    """Replace the file *output* by *pieces*. Returns the number of bytes."""
    path, count = Path(os.path.realpath(output)), 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for piece in pieces:
            count += len(piece)
            yield piece

    try:
        if path.exists() and not path.is_file():  # a pipe or a device is written to, not replaced
            with path.open("wb") as file:
                file.writelines(counted())
        else:
            disk.replace(path, counted())
    except OSError as error:
        raise click.ClickException(f"cannot write {printable(str(output))}: {error.strerror or error}") from None
    return count
