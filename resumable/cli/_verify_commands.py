"""``resumable verify`` and ``resumable repair``: check checkpoints, and go back to the last good save."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from .._errors import ResumableError
from .._format.anywhere import repair_in, verify_in
from .._format.document import is_encrypted
from .._format.files import FileFound, files_of, operation_id_of, operations_at
from .._format.repair import Repaired, repair
from .._format.verify import Recoverable, Verified, verify, verify_settled
from .._report.stored.scan import ids_in, is_missing, name_of, not_there
from .._report.stored.shards import matches
from .._text import command_for, printable
from ..stores import CheckpointStore, FileStore
from ._options import chosen_store, opener_by, with_key, with_options
from ._screens import print_json


def _found(
    targets: tuple[str, ...], where: str | None, key_file: Path | None
) -> list[tuple[Callable[[], Verified], Callable[[], Repaired]]]:
    """For each operation that *targets* name: a call that verifies it, and one that repairs it."""
    store, now = chosen_store(where), datetime.now(UTC)
    if where is not None and is_missing(store):
        raise click.ClickException(not_there(store))
    options: dict[str, Any] = {"now": now}
    opener = opener_by(key_file)
    if opener is not None:
        options |= {"unseal": opener.unseal, "unseal_artifact": opener.unseal_artifact}
    if isinstance(store, FileStore):
        paths = [path for target in targets or (str(store.directory),) for path in _operations_of(target, store)]
        return [
            (partial(verify_settled, partial(verify, path, **options)), partial(repair, path, **options))
            for path in dict.fromkeys(paths)
        ]
    return [
        (partial(verify_in, store, one, **options), partial(repair_in, store, one, **options))
        for one in _ids_of(targets, store)
    ]


def _ids_of(targets: tuple[str, ...], store: CheckpointStore) -> list[str]:
    ids = ids_in(store)
    for target in targets:
        if not any(matches(one, target) for one in ids):
            raise click.ClickException(f"no checkpoint of {printable(target)} in {printable(name_of(store))}")
    return [one for one in ids if not targets or any(matches(one, target) for target in targets)]


def _operations_of(target: str, store: FileStore) -> list[Path]:
    try:
        return operations_at(target, store)
    except ValueError:
        if not store.directory.is_dir():
            raise
        bases = operations_at(str(store.directory), store)
        found = [base for base in bases if matches(operation_id_of(base, files_of(base)), target)]
        if not found:
            raise
        return found


@click.command("verify", short_help="Check every byte: what is damaged, and what is still good.")
@click.argument("targets", metavar="[PATH|ID|PATTERN]…", nargs=-1)
@click.option("--verbose", "-v", "is_verbose", is_flag=True, help="List each save in a journal, too.")
@with_options
@with_key
def verify_command(
    targets: tuple[str, ...], where: str | None, as_json: bool, key_file: Path | None, is_verbose: bool
) -> None:
    """Check every file and every save in a journal: what is good, what is damaged, and what can be restored.

    PATH is a directory, or any file of a checkpoint. PATTERN matches ids, such as 'job-*'. Without any, it checks all
    checkpoints. It changes nothing. The exit code is 1 if a checkpoint cannot be loaded as it is.

    \b
    --json: {"checkpoints": [{operation_id, location, verdict, problem, recoverable, files}]}, with
      verdict          good, damaged, or unknown (a newer release wrote it, or it is encrypted and no key was given)
      problem          null if it is good
      recoverable      {processed_items, last_updated, saves, from}, or null
      files            [{path, kind, role, verdict, problem, notes, saves, records}]
    """
    found = [look() for look, _ in _found(targets, where, key_file)]
    if as_json:
        print_json({"checkpoints": list(map(_to_dict, found))})
    else:
        click.echo("\n\n".join(_as_text(one, is_verbose, where or "") for one in found) or "no checkpoints")
    if any(one.problem for one in found):
        sys.exit(1)


def _as_text(found: Verified, is_verbose: bool, where: str) -> str:
    is_told_below = any(file.problem for file in found.files if file.role == "current")
    about = f": {printable(found.problem)}" if found.problem and not is_told_below else ""
    lines = [f"{printable(found.operation_id)}: {found.verdict}{about}"]
    for file in found.files:
        lines.append(_file_as_text(file, found.place))
        lines += [f"    {printable(record)}" for record in (file.records if is_verbose else ())]
    if found.verdict == "damaged":
        lines.append(_way_out(found, where))
    return "\n".join(lines)


def _file_as_text(file: FileFound, place: str) -> str:
    about = "; ".join(filter(None, [printable(file.problem), printable(file.notes)]))
    name = "" if place else f"{printable(file.path.name)}: "  # only a directory has files
    return f"  {file.role:<9}{file.kind:<11}{file.verdict:<8} {name}{about}"


def _way_out(found: Verified, where: str) -> str:
    best, path, where = found.best, (found.place and found.operation_id) or str(found.path), found.place and where
    if best is None and any(is_encrypted(file.raw) and file.problem for file in found.files):
        damaged = f"the key is wrong, or {printable(path)} is damaged"
        return f"  nothing can be decrypted: {damaged}. Try the right key first, and change nothing."
    if best is None:
        way = command_for("rm", path, where) if found.place else f"move {printable(path)} away"
        return f"  nothing can be restored\n  to start over:  {way}"
    lost = f"; the {best.lost_bytes:,} bytes of its journal after it are lost" if best.lost_bytes else ""
    journal = next((file for file in found.files if (file.kind, file.role) == ("journal", "current")), None)
    if journal is not None and journal.raw and all(journal is not one for one in best.journals):
        lost = f"; the present journal, {len(journal.raw):,} bytes with {journal.saves} good saves, is lost"
    return f"  can be restored: {_described(best)}{lost}\n  to go on from there:  {command_for('repair', path, where)}"


def _described(best: Recoverable) -> str:
    data = best.restored.data
    return f"item {data.metadata.processed_items:,}, saved {data.last_updated:%Y-%m-%d %H:%M:%S} UTC"


def _to_dict(found: Verified) -> dict[str, Any]:
    return {
        "operation_id": found.operation_id,
        "location": found.location,
        "verdict": found.verdict,
        "problem": found.problem or None,
        "recoverable": None if found.best is None else _best_to_dict(found.best),
        "files": [
            {"path": str(file.path), "kind": file.kind, "role": file.role, "verdict": file.verdict}
            | {"problem": file.problem or None, "notes": file.notes, "saves": file.saves, "records": file.records}
            for file in found.files
        ],
    }


def _best_to_dict(best: Recoverable) -> dict[str, Any]:
    data = best.restored.data
    return {
        "processed_items": data.metadata.processed_items,
        "last_updated": data.last_updated.isoformat(),
        "saves": best.saves,
        "from": [str(file.path) for file in (best.snapshot, *best.journals)],
    }


@click.command("repair", short_help="Go back to the last good save; damaged files are kept.")
@click.argument("targets", metavar="PATH|ID|PATTERN…", nargs=-1, required=True)
@with_options
@with_key
def repair_command(targets: tuple[str, ...], where: str | None, as_json: bool, key_file: Path | None) -> None:
    """Go back to the last good save. Damaged files are kept beside it as .corrupt-<stamp>.

    PATH is a directory, or any file of a checkpoint. PATTERN matches ids, such as 'job-*'. A good checkpoint stays as
    it is. So does one that may be good: a newer release wrote it, or it is encrypted and no key was given.

    \b
    --json: {"repaired": [{operation_id, location, problem, recoverable, kept}], "failed": [text]}
      problem          what was wrong; null if nothing was done
      failed           why others could not be repaired; then the exit code is 1
    """
    done, failed = list[Repaired](), list[str]()
    for _, mend in _found(targets, where, key_file):
        try:
            done.append(mend())
        except ResumableError as error:
            failed.append(str(error))
    if as_json:
        print_json({"repaired": list(map(_repaired_to_dict, done)), "failed": failed})
    elif done:
        click.echo("\n".join(map(_repaired_as_text, done)))
    if failed and not as_json:
        raise click.ClickException("\n".join(printable(line) for text in failed for line in text.splitlines()))
    if failed:
        sys.exit(1)


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
    return "\n".join([f"{name}: repaired; the next run goes on from {_described(one.best)}", *kept])
