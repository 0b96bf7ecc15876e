"""Where checkpoints are looked for: argument, then environment, then pyproject.toml, then here."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from ..stores import CheckpointStore, open_store


def chosen_store(argument: str | None) -> CheckpointStore:
    """The store that *argument* names, else ``$CHECKPOINT_DIR``, else ``[tool.resumable] dir`` in the nearest
    pyproject.toml that has it, else the current directory.

    Raises:
        ValueError: No store has that URL's scheme, or the pyproject.toml cannot be used.
    """
    if argument:
        return open_store(argument)
    environment = os.environ.get("CHECKPOINT_DIR")
    if environment:
        return open_store(Path(environment))
    return open_store(configured_directory(Path.cwd()) or Path("."))


def configured_directory(start: Path) -> Path | None:
    """``[tool.resumable] dir`` from *start* upward; a relative one is relative to its pyproject.toml.

    Raises:
        ValueError: A pyproject.toml on the way cannot be read, or its ``dir`` is no text.
    """
    for directory in (start, *start.parents):
        section = _section(directory / "pyproject.toml")
        if "dir" in section:
            where = section["dir"]
            if not isinstance(where, str) or not where:
                raise ValueError(f"{directory / 'pyproject.toml'}: [tool.resumable] dir must be a text, not {where!r}")
            return directory / where
    return None


def _section(path: Path) -> dict[str, object]:
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("resumable", {})
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    return section if isinstance(section, dict) else {}
