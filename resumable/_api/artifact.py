"""``Artifact`` and ``AsyncArtifact``: a file or directory that belongs to a checkpoint."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .._runtime.paths import absolute
from .._runtime.steps import Steps, run, run_async

if TYPE_CHECKING:
    from .._engine.artifacts import Workshop


class _Artifact:
    """The common base of both. Users get artifacts from ``cp.artifact(name)``.

    Attributes:
        name: The artifact's name.
    """

    def __init__(self, workshop: Any, name: str) -> None:  # Any, because the engine's types are not public
        self._workshop: Workshop = workshop
        self.name: str = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self._workshop.path(self.name) or 'no version yet'}>"

    def __reduce__(self) -> str:
        raise TypeError(f"the artifact {self.name!r} belongs to this process; give others its path")

    @property
    def exists(self) -> bool:
        """Whether it has a version, restored or written in this run."""
        return self._workshop.path(self.name) is not None

    @property
    def path(self) -> Path:
        """The path to read from: the checkpoint's version, or the one that this run has written since.

        It is the file or directory that was written, with any suffix that a library added. If several files were
        written, it is the common beginning of their names. Never change these files; write a new version instead. The
        path changes with each write, and is gone once the checkpoint is removed.

        Raises:
            FileNotFoundError: There is no version yet; see :attr:`exists`.
        """
        path = self._workshop.path(self.name)
        if path is None:
            raise FileNotFoundError(2, "the artifact has no version yet", self.name)
        return path

    def _open(self, path: Path, mode: str, options: dict[str, Any]) -> IO[Any]:
        return open(path, mode.replace("w", "x"), **options)

    def _publishing(self, target: str | os.PathLike[str]) -> tuple[Path, Steps[None]]:
        path = absolute(target)
        return path, self._workshop.publish(self.name, path)


def _check_mode(mode: str) -> None:
    if mode not in ("wb", "w", "wt", "rb", "r", "rt"):
        raise ValueError(f"mode must be 'wb', 'w', 'rb' or 'r', not {mode!r}; to change a part, write all of it anew")


class Artifact(_Artifact):
    """A file or directory that belongs to the checkpoint: a new version counts with the next save.

    Example:
        >>> model = cp.artifact("model")
        >>> with model.write() as path:
        ...     written = path.write_text("weights")
        >>> model.path.read_text()
        'weights'

    Attributes:
        name: The artifact's name.
    """

    def write(self) -> AbstractContextManager[Path]:
        """Write a new version. The block gets the path at which to create a file or a directory, by any library.

        At the end of the block, the version is synced to the disk; it counts with the next save, at the end of its
        item. The earlier version stays until that save stands. If an exception leaves the block, nothing has changed.

        Example:
            >>> with cp.artifact("table").write() as path:
            ...     written = path.write_text("a,b")

        Raises:
            ValueError: Nothing was written there, or a link or pipe. The earlier version stays.
            StoreError: The store cannot take it, or this is a forked child. The earlier version stays.
        """
        return self._write()

    @contextmanager
    def _write(self) -> Iterator[Path]:
        version, path = run(self._workshop.begin(self.name))
        try:
            yield path
        except BaseException:
            self._workshop.give_up(version)
            raise
        run(self._workshop.end(self.name, version))

    def open(self, mode: str = "wb", **options: Any) -> AbstractContextManager[IO[Any]]:
        """Write a new version as one file, ``"wb"`` or ``"w"``, or read the present one, ``"rb"`` or ``"r"``.

        Use it in a ``with``: the new version counts as for :meth:`write`, and if an exception leaves the block, nothing
        has changed.

        Example:
            >>> with cp.artifact("notes").open("w") as file:
            ...     print("first line", file=file)

        Args:
            options: Those of the function ``open``: ``encoding``, ``newline``, ``errors``, ``buffering``.

        Raises:
            ValueError: *mode* is something else.
            FileNotFoundError: There is nothing to read yet.
            StoreError: The store cannot take it. The earlier version stays.
        """
        _check_mode(mode)
        return self._opened(mode, options)

    @contextmanager
    def _opened(self, mode: str, options: dict[str, Any]) -> Iterator[IO[Any]]:
        if "r" in mode:
            with open(self.path, mode, **options) as file:
                yield file
            return
        with self._write() as path, self._open(path, mode, options) as file:
            yield file

    def publish(self, target: str | os.PathLike[str]) -> Path:
        """Copy the newest version to a path outside of the checkpoint, at the end of the work.

        *target* is replaced as a whole or not at all, also on another file system, and is safe on the disk then. The
        copy may be changed freely. If the disk has no room for a copy, and the checkpoint is removed at the end of the
        block (``auto_cleanup``), *target* becomes a second name of the file. A run that is killed after this publishes
        again.

        Example:
            >>> with cp.artifact("result").open("w") as file:
            ...     written = file.write("42")
            >>> cp.artifact("result").publish("result.txt").read_text()
            '42'

        Args:
            target: The file or directory. A leading ``~`` is the home folder. Missing parents are created.

        Returns:
            The absolute path.

        Raises:
            FileNotFoundError: There is no version.
            StoreError: *target* cannot be written, or is a directory while this is a file. It is unchanged, and the
                artifact stays.
        """
        path, steps = self._publishing(target)
        run(steps)
        return path


class AsyncArtifact(_Artifact):
    """A file or directory that belongs to an async checkpoint. The event loop goes on while the disk works.

    Example:
        >>> async def write() -> str:
        ...     async with checkpointed("job") as cp:
        ...         model = await cp.artifact("model")
        ...         async with model.open("w") as file:
        ...             written = file.write("weights")
        ...         return model.path.read_text()
        >>> asyncio.run(write())
        'weights'

    Attributes:
        name: The artifact's name.
    """

    def write(self) -> AbstractAsyncContextManager[Path]:
        """Write a new version, in ``async with``. See :meth:`Artifact.write`.

        Example:
            >>> table = await cp.artifact("table")
            >>> async with table.write() as path:
            ...     written = path.write_text("a,b")
        """
        return self._write()

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[Path]:
        version, path = await run_async(self._workshop.begin(self.name))
        try:
            yield path
        except BaseException:
            self._workshop.give_up(version)
            raise
        await run_async(self._workshop.end(self.name, version))

    def open(self, mode: str = "wb", **options: Any) -> AbstractAsyncContextManager[IO[Any]]:
        """Write a new version as one file, or read the present one, in ``async with``. See :meth:`Artifact.open`.

        Example:
            >>> notes = await cp.artifact("notes")
            >>> async with notes.open("w") as file:
            ...     print("first line", file=file)
        """
        _check_mode(mode)
        return self._opened(mode, options)

    @asynccontextmanager
    async def _opened(self, mode: str, options: dict[str, Any]) -> AsyncIterator[IO[Any]]:
        if "r" in mode:
            with open(self.path, mode, **options) as file:
                yield file
            return
        async with self._write() as path:
            with self._open(path, mode, options) as file:
                yield file

    async def publish(self, target: str | os.PathLike[str]) -> Path:
        """Copy the newest version to a path outside of the checkpoint. See :meth:`Artifact.publish`.

        Example:
            >>> result = await cp.artifact("result")
            >>> async with result.open("w") as file:
            ...     written = file.write("42")
            >>> (await result.publish("result.txt")).read_text()
            '42'
        """
        path, steps = self._publishing(target)
        await run_async(steps)
        return path
