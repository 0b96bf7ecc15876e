"""Files that belong to a checkpoint: outputs that grow row by row, and artifacts that are written as a whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from .._runtime.steps import run

if TYPE_CHECKING:
    from .._durable import Sink
    from .._durable.sink_file import Existing
    from .._engine.operation import Operation
    from .artifact import Artifact


class Files:
    """Sinks and artifacts of a plain checkpoint."""

    _operation: Operation
    _lock: threading.RLock
    _note_sink: Callable[[Sink[Any], Existing], None]

    @overload
    def sink(
        self,
        path: str | os.PathLike[str],
        mode: Literal["t"] = ...,
        *,
        existing: Existing = ...,
        header: str | None = ...,
    ) -> Sink[str]: ...
    @overload
    def sink(
        self,
        path: str | os.PathLike[str],
        mode: Literal["b"],
        *,
        existing: Existing = ...,
        header: bytes | None = ...,
    ) -> Sink[bytes]: ...
    def sink(
        self,
        path: str | os.PathLike[str],
        mode: Literal["t", "b"] = "t",
        *,
        existing: Existing = "append",
        header: str | bytes | None = None,
    ) -> Sink[Any]:
        """An output file that goes with the checkpoint: after a resume it contains each row that counts, once.

        A resume compares the file's length, and its first and last 4096 bytes, with what the last run left. Rows that a
        killed run wrote after its last save are cut off, with a warning in the log.

        Example:
            >>> rows = cp.sink("rows.csv", header="name,size\\n")
            >>> print("a,1", file=rows)

        Args:
            path: One file has one sink, however its path is written.
            mode: ``"t"`` takes str, written as UTF-8; ``"b"`` takes bytes.
            existing: What to do if the file exists but the operation is new: ``"append"`` writes after its end,
                ``"replace"`` empties it, ``"refuse"`` raises. A run that starts over, with ``resume=False`` or after
                ``resumable rm``, is new, too.
            header: The beginning of the file, such as ``"name,size\\n"``; bytes with ``mode="b"``. It is written to an
                empty file, once over all runs and operations.

        Raises:
            InputChangedError: The file is not as the last run left it, is refused, does not begin with *header*, or has
                rows of a killed operation that will cut it. It is unchanged.
            StateEncodeError: The *header* is not valid Unicode.
            StoreError: The file cannot be opened, or the save that makes its rows count failed.
            TypeError: The file is open in the other mode, or *header* does not match *mode*.
            ValueError: A *header* of text does not end with a newline, or the file is open with another header.
        """
        with self._lock:
            sink = run(self._operation.open_sink(path, mode, existing, header))
        self._note_sink(sink, existing)
        return sink

    def artifact(self, name: str) -> Artifact:
        """A file or directory that belongs to the checkpoint: a new version counts with the next save.

        So it always agrees with the position and the state: a resumed run has the version that was saved with them,
        whatever died when. For what is large or not JSON: models, arrays, frames.

        Example:
            >>> weights = cp.artifact("weights")
            >>> with weights.write() as path:
            ...     written = path.write_bytes(bytes(8))
            >>> weights.path.read_bytes() == bytes(8)
            True

        Args:
            name: Identifies the artifact, in every run. The file gets this name, as far as a file can.

        Raises:
            CheckpointCorruptError: The saved version is gone, or its size or SHA-256 has changed.
            StoreError: The store fails, or cannot keep artifacts.
            TypeError, ValueError: *name* is not a str, or empty.
        """
        from .._engine.artifacts import workshop
        from .artifact import Artifact

        with self._lock:
            shop = workshop(self._operation)
            run(shop.open(name))
        return Artifact(shop, name)
