"""Where the command line looks for checkpoints: where it is told, else where a program run here would put them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .._text import printable
from ..stores import CheckpointStore, open_store
from ..stores.defaults import default_directory

F = TypeVar("F", bound=Callable[..., Any])


def with_options(command: F) -> F:
    """The options of all commands: ``as_json``, and ``where`` for :func:`chosen_store`."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    where = click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")
    return where(as_json(command))


def chosen_store(where: str | None) -> CheckpointStore:
    """The store that *where* names, else the default directory.

    Raises:
        click.UsageError: No store has that URL's scheme, or the pyproject.toml cannot be used.
    """
    try:
        return open_store(where or default_directory())
    except ValueError as error:
        raise click.UsageError(printable(str(error))) from None
