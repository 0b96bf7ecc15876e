"""What holds if nobody says otherwise: where checkpoints lie, and whether a clean exit removes them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def default_directory() -> Path:
    """``$CHECKPOINT_DIR``, else ``[tool.resumable] dir`` in the nearest pyproject.toml that has it, else ``.``.

    Raises:
        ValueError: A pyproject.toml on the way cannot be used.
    """
    environment = os.environ.get("CHECKPOINT_DIR")
    return Path(environment) if environment else configured_directory(Path.cwd()) or Path(".")


def configured_directory(start: Path) -> Path | None:
    """``[tool.resumable] dir`` from *start* upward; a relative one is relative to its pyproject.toml.

    Raises:
        ValueError: A pyproject.toml on the way cannot be read, or its ``dir`` is no text.
    """
    for directory in (start, *start.parents):
        path = directory / "pyproject.toml"
        section = _section(path)
        if "dir" in section:
            where = section["dir"]
            if not isinstance(where, str) or not where:
                raise ValueError(f"{path}: [tool.resumable] dir must be a text, not {where!r}")
            return directory / where
    return None


def _section(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
        import tomllib  # not worth loading before there is a file

        section = tomllib.loads(text).get("tool", {}).get("resumable", {})
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    return section if isinstance(section, dict) else {}


def directory_to_name(location: Path | str) -> str:
    """The directory of the checkpoint at *location*; "" if commands look there by themselves, or it is in none."""
    if not isinstance(location, Path):
        return ""
    with contextlib.suppress(OSError, ValueError):
        if location.parent.resolve() == default_directory().resolve():
            return ""
    return str(location.parent)


def default_auto_cleanup() -> bool:
    """``$CHECKPOINT_AUTO_CLEANUP``, else True.

    Raises:
        ValueError: If it is neither a yes nor a no.
    """
    text = os.environ.get("CHECKPOINT_AUTO_CLEANUP", "").strip().lower()
    if text and text not in _YES | _NO:
        raise ValueError(f"CHECKPOINT_AUTO_CLEANUP must be true or false, not {text!r}")
    return text not in _NO
