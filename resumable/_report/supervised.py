"""What a job reports to the ``resumable run`` that started it: one JSON line for each event, in a file.

The file is named by :data:`FILE`. It outlives a job that is killed, and lies outside of its checkpoints.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .._runtime import disk
from .._strategies import every
from .events import Event, Events

if TYPE_CHECKING:
    from .._engine.options import Options

FILE, CAREFUL = "RESUMABLE_RUN_EVENTS", "RESUMABLE_RUN_CAREFUL"
"""Environment variables: the file, and whether to save each item, because one of them kills the job."""


def _tell(event: Event) -> None:
    line = msgspec.json.encode(event.to_dict()) + b"\n"
    try:
        descriptor = os.open(os.environ[FILE], disk.WRITE | os.O_APPEND)
    except (OSError, KeyError):  # the supervisor is gone, and nobody listens
        return
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


_tell.is_direct = True  # type: ignore[attr-defined]  # a kill must not come between


class Supervised(Events):
    """Tells the supervisor of this process what happens to one operation."""

    def __init__(self) -> None:
        super().__init__([_tell])

    def configure(self, options: Options) -> Options:
        if CAREFUL not in os.environ:
            return options
        return dataclasses.replace(options, strategy=every(items=1), works_beside=False)


class ReportedEvent(msgspec.Struct, frozen=True):
    """An event, as the supervisor reads it."""

    name: str
    operation_id: str
    run: int = 0
    processed_items: int = 0
    total_items: int | None = None
    failed_items: int = 0
    reason: str = ""
    error: str = ""
    loop: str = ""
    key: str | int | None = None
    again_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RunReport:
    """What one run of a job has told.

    Attributes:
        items: The highest number of done and saved items of each operation.
        last: The last event of each operation.
    """

    items: Mapping[str, int]
    last: Mapping[str, ReportedEvent]

    @property
    def ended(self) -> list[ReportedEvent]:
        """The operations that ended before their work was done."""
        return [event for event in self.last.values() if event.name == "stopping"]

    @property
    def is_cut_off(self) -> bool:
        """Whether an operation had no time to end: a kill, a crash of the interpreter, ``os._exit``."""
        return any(event.name not in ("stopping", "done") for event in self.last.values())

    @property
    def newest(self) -> ReportedEvent | None:
        """The last event; None if there was none."""
        return next(reversed(list(self.last.values())), None)

    @property
    def was_asked_to_stop(self) -> bool:
        """Whether ``resumable stop`` ended the run, or the program's own ``resumable.stop()``."""
        last = self.newest
        return last is not None and last.name == "stopping" and last.reason.endswith("Interrupted: stop()")

    @property
    def again_at(self) -> float | None:
        """When a used-up quota is fresh, in seconds since the epoch; None if none has ended the run."""
        return max((event.again_at for event in self.ended if event.again_at is not None), default=None)

    @property
    def item(self) -> tuple[str, str, str | int] | None:
        """The operation, the loop and the item that raised an exception; None if unknown."""
        known = [(one.operation_id, one.loop, one.key) for one in self.ended if one.key is not None]
        return known[-1] if known else None


_decode = msgspec.json.Decoder(ReportedEvent)


def read_report(path: Path, offset: int) -> tuple[RunReport, int]:
    """The events in the file *path* from *offset* on, and its end. A line that a kill cut in two is left out."""
    items, last = dict[str, int](), dict[str, ReportedEvent]()
    with path.open("rb") as file:
        file.seek(offset)
        raw = file.read()
    for line in raw.splitlines():
        try:
            event = _decode.decode(line)
        except msgspec.MsgspecError:
            continue
        last.pop(event.operation_id, None)
        last[event.operation_id] = event
        if event.name != "failed_item":
            items[event.operation_id] = max(items.get(event.operation_id, 0), event.processed_items)
    return RunReport(items, last), offset + len(raw)
