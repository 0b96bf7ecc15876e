"""Where the command line looks for checkpoints: where it is told, else where a program run here would put them."""

from __future__ import annotations

from .._where import default_directory
from ..stores import CheckpointStore, open_store


def chosen_store(argument: str | None) -> CheckpointStore:
    """The store that *argument* names, else the default directory.

    Raises:
        ValueError: No store has that URL's scheme, or the pyproject.toml cannot be used.
    """
    return open_store(argument or default_directory())
