"""``resumable verify`` and ``resumable repair``: what the files still hold, and going back to the last good save."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from .._repair import Repaired, repair
from .._shellwords import argument, printable
from .._verify import FileFound, Recoverable, Verified, operations_at, verify
from ..stores import FileStore
from ._where import chosen_store


def register(commands: click.Group) -> None:
    """Add the two commands."""
    commands.add_command(verify_command)
    commands.add_command(repair_command)


def _found(targets: tuple[str, ...], where: str | None) -> list[Path]:
    try:
        store = chosen_store(where)
    except ValueError as error:
        raise click.UsageError(printable(str(error))) from None
    if not isinstance(store, FileStore):
        raise click.UsageError("only checkpoints in a directory can be verified and repaired")
    paths = [path for target in targets or (str(store.directory),) for path in operations_at(target, store)]
    return list(dict.fromkeys(paths))


# -- verify


@click.command("verify")
@click.argument("targets", metavar="[PATH|ID]…", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")
def verify_command(targets: tuple[str, ...], where: str | None, as_json: bool) -> None:
    """Check every generation and every save in a journal: what is good, what is not, what can be had back.

    PATH is a directory or any file of a checkpoint; without one, all checkpoints are checked. Nothing is changed. The
    exit code is 1 if one cannot be loaded as it is.

    \b
    --json: {"checkpoints": [{operation_id, location, problem, recoverable, files}]}, with
      problem          null if it is good
      recoverable      {processed_items, last_updated, saves, from}, or null
      files            [{path, kind, role, problem, notes, saves}]
    """
    now = datetime.now(UTC)
    found = [verify(path, now=now) for path in _found(targets, where)]
    if as_json:
        click.echo(json.dumps({"checkpoints": list(map(_to_dict, found))}, indent=2))
    else:
        click.echo("\n\n".join(map(_as_text, found)) or "no checkpoints")
    if any(one.problem for one in found):
        sys.exit(1)


def _as_text(found: Verified) -> str:
    verdict = f"damaged: {printable(found.problem)}" if found.problem else "good"
    lines = [f"{printable(found.operation_id)}: {verdict}", *map(_file_as_text, found.files)]
    if found.problem:
        lines.append(_way_out(found))
    return "\n".join(lines)


def _file_as_text(file: FileFound) -> str:
    verdict = "damaged" if file.problem else "good"
    about = "; ".join(filter(None, [printable(file.problem), printable(file.notes)]))
    return f"  {file.role:<9}{file.kind:<11}{verdict:<8} {printable(file.path.name)}: {about}"


def _way_out(found: Verified) -> str:
    if found.best is None:
        return "  nothing can be had back"
    return (
        f"  can be had back: {_told(found.best)}\n  to go on from there:  resumable repair {argument(str(found.path))}"
    )


def _told(best: Recoverable) -> str:
    data = best.restored.data
    return f"item {data.metadata.processed_items:,}, saved {data.last_updated:%Y-%m-%d %H:%M:%S} UTC"


def _to_dict(found: Verified) -> dict[str, Any]:
    return {
        "operation_id": found.operation_id,
        "location": str(found.path),
        "problem": found.problem or None,
        "recoverable": None if found.best is None else _best_to_dict(found.best),
        "files": [
            {
                "path": str(file.path),
                "kind": file.kind,
                "role": file.role,
                "problem": file.problem or None,
                "notes": file.notes,
                "saves": file.saves,
            }
            for file in found.files
        ],
    }


def _best_to_dict(best: Recoverable) -> dict[str, Any]:
    data = best.restored.data
    return {
        "processed_items": data.metadata.processed_items,
        "last_updated": data.last_updated.isoformat(),
        "saves": best.saves,
        "from": [str(file.path) for file in (best.snapshot, best.journal) if file is not None],
    }


# -- repair


@click.command("repair")
@click.argument("targets", metavar="PATH|ID…", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")
def repair_command(targets: tuple[str, ...], where: str | None, as_json: bool) -> None:
    """Go back to the last good save; what is damaged is kept beside it as .corrupt-<stamp>.

    PATH is a directory or any file of a checkpoint. One that is good is left as it is.

    \b
    --json: {"repaired": [{operation_id, location, problem, recoverable, kept}]}
      problem          what was wrong; null if nothing was done
    """
    now = datetime.now(UTC)
    done = [repair(path, now=now) for path in _found(targets, where)]
    if as_json:
        click.echo(json.dumps({"repaired": [_repaired_to_dict(one) for one in done]}, indent=2))
        return
    for one in done:
        click.echo(_repaired_as_text(one))


def _repaired_to_dict(one: Repaired) -> dict[str, Any]:
    return {
        "operation_id": one.operation_id,
        "location": str(one.path),
        "problem": one.problem or None,
        "recoverable": _best_to_dict(one.best),
        "kept": list(map(str, one.kept)),
    }


def _repaired_as_text(one: Repaired) -> str:
    name = printable(one.operation_id)
    if not one.problem:
        return f"{name}: good; nothing to repair"
    kept = [f"  kept  {printable(str(path))}" for path in one.kept]
    return "\n".join([f"{name}: repaired; the next run goes on from {_told(one.best)}", *kept])
