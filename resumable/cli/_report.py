"""``resumable report``: a report about one operation, as an HTML file or a picture."""

from __future__ import annotations

from pathlib import Path

import click

from .._report.pages.page import found, report_of, whole_page
from .._report.stored.wording import size
from .._runtime import disk
from .._text import printable
from ._options import ids_for_the_shell, opened, the_only_one, with_key, with_options
from ._screens import print_json


@click.command("report", short_help="Write a report: one HTML file with charts, or a picture.")
@click.argument("operation_id", metavar="[ID]", required=False, shell_complete=ids_for_the_shell)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file (default: ID.html, or ID.png).",
)
@click.option(
    "--png", "as_png", is_flag=True, help="Draw a picture, with matplotlib; the default for a FILE that ends in .png."
)
@with_options
@with_key
def report_command(
    operation_id: str | None, output: Path | None, as_png: bool, where: str | None, as_json: bool, key_file: Path | None
) -> None:
    """Write a report about one operation: items over time, stops, speed, quota and waits, the cost of saves, the work
    at risk, the forecast of the time left, errors, failed items, and settings.

    The report is one file, which needs no network and no script. Without ID it is about the only operation.

    \b
    resumable report crawl -o run.html
    resumable report crawl --png

    \b
    --json: {"operation_id": text, "output": path, "bytes": number}
    """
    if as_png and output is not None and output.suffix.lower() in (".html", ".htm"):
        raise click.UsageError(f"--png writes a picture: leave it out, or write -o {printable(output.stem)}.png")
    store = opened(where, key_file)
    operation_id = operation_id if operation_id is not None else the_only_one(store).operation_id
    as_png = as_png or (output is not None and output.suffix.lower() == ".png")
    path = output if output is not None else Path(f"{_file_name(operation_id)}.{'png' if as_png else 'html'}")
    summary, restored = found(store, operation_id)
    try:
        if as_png:
            from .._report.pages.png import to_png

            written = to_png(summary, restored)
        else:
            written = whole_page(operation_id, report_of(summary, restored)).encode("utf-8", "replace")
        disk.replace(path.absolute(), [written])
    except (OSError, ModuleNotFoundError) as error:
        why = getattr(error, "strerror", None) or error
        raise click.ClickException(f"cannot write {printable(str(path))}: {why}") from None
    if as_json:
        print_json({"operation_id": operation_id, "output": str(path), "bytes": len(written)})
    else:
        click.echo(f"wrote {printable(str(path))} ({size(len(written))})", err=True)


def _file_name(operation_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in operation_id).lstrip(".")[:100] or "report"
