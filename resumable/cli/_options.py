"""Options that all commands share, and the store that they choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .._text import printable
from ..stores import CheckpointStore, open_store
from ..stores.defaults import default_place

F = TypeVar("F", bound=Callable[..., Any])


def with_options(command: F) -> F:
    """Give *command* the option ``--json`` as ``as_json``, and ``--dir`` as ``where``, for :func:`chosen_store`."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    where = click.option("--dir", "--store", "where", metavar="DIR", help="Where the checkpoints lie.")
    return where(as_json(command))


def chosen_store(where: str | None) -> CheckpointStore:
    """Open the store that *where* names; without one, the directory where a program that runs here would save.

    Raises:
        click.UsageError: If the scheme of the URL is unknown, or pyproject.toml is not usable.
    """
    try:
        return open_store(where or default_place())
    except ValueError as error:
        raise click.UsageError(printable(str(error))) from None
