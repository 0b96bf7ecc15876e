"""The defaults: where checkpoints lie, and whether a clean exit removes them."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from .._errors import StoreError
from .._runtime.paths import absolute, current_directory
from ._base import CheckpointStore
from ._open import open_store

_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})
_VARIABLES = ("CHECKPOINT_STORE", "CHECKPOINT_DIR")
_NAME = re.compile(r"\$(?:\w+|\{\w+\})")


def default_place() -> str | Path:
    """``$CHECKPOINT_STORE``, ``$CHECKPOINT_DIR``, ``[tool.resumable] dir`` of the nearest pyproject.toml, else ``.``.

    Returns:
        A directory, or the text of a variable, which may be a URL; :func:`~resumable.open_store` takes both.

    Raises:
        StoreError: No variable names a place, and the current directory was removed.
        ValueError: A pyproject.toml on the way has a malformed section for this library, or a variable in the place is
            not set.
    """
    given = next(filter(None, map(_given_by, _VARIABLES)), None)
    return given or configured_place(current_directory()) or Path(".")


def _given_by(variable: str) -> str:
    return _expanded(os.environ.get(variable, ""), variable)


def _expanded(place: str, source: str) -> str:
    """*place* with ``$NAME`` and ``${NAME}`` replaced: a service file and a .env pass them on as they are."""
    if "://" in place:  # a password may contain the sign
        return place
    expanded = os.path.expandvars(place)
    if unset := _NAME.search(expanded):
        raise ValueError(f"{source} is {place!r}, but the variable {unset[0]} is not set. Nothing was touched.")
    return expanded


def default_directory() -> Path:
    """The default directory on this machine; a default place that is a URL does not count."""
    here = current_directory()
    places = (*map(_given_by, _VARIABLES), configured_place(here))
    named = next((str(place) for place in places if place and "://" not in str(place)), "")
    return absolute(named)


def configured_place(start: Path) -> str | Path | None:
    """``[tool.resumable] dir`` from *start* upward, a directory or a URL; relative to its pyproject.toml.

    Raises:
        ValueError: A pyproject.toml on the way cannot be read, or its ``dir`` is not a text.
    """
    for directory in (start, *start.parents):
        path = directory / "pyproject.toml"
        section = _section(path)
        if "dir" in section:
            where = section["dir"]
            if not isinstance(where, str) or not where:
                raise ValueError(
                    f"{directory / 'pyproject.toml'}: [tool.resumable] dir must be a non-empty text, not {where!r}"
                )
            where = _expanded(where, f"{path}: [tool.resumable] dir")
            return _below(directory, where) if "://" in where else directory / Path(where).expanduser()
    return None


def _below(directory: Path, url: str) -> str:
    """*url*; if it names a file by a relative path, that file in *directory*."""
    scheme, _, rest = url.partition("://")
    file = rest.removeprefix("/")
    if scheme.partition("+")[0] != "sqlite" or file.startswith(("/", "~", ":")) or not file:
        return url
    return f"{scheme}:///{directory}/{file}"


def _section(path: Path) -> dict[str, object]:
    import tomllib

    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return {}
    if "tool.resumable" not in text:
        return {}  # another project's file or a template: its content does not concern us
    try:
        section = tomllib.loads(text).get("tool", {}).get("resumable", {})
    except (ValueError, AttributeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    return section if isinstance(section, dict) else {}


def place_to_open(named: str) -> str | Path:
    """*named*, as a person types it; or the default place, if that is equal but its URL also has the password.

    Raises:
        ValueError: See :func:`default_place`.
    """
    if "://" in named and "@" in (default := str(default_place())):
        with contextlib.suppress(ValueError, ImportError):  # the default of another program
            return default if open_store(default).describe() == named else named
    return named


def without_password(where: str | None) -> str:
    """*where*, as a person has typed it, without a password, for a command to show; "" for None."""
    return str(open_store(where).describe()) if where and "://" in where else where or ""


def place_to_name(store: CheckpointStore, operation_id: str) -> str:
    """The directory or URL in which *store* keeps an operation; "" if commands find it by themselves, or cannot.

    Raises:
        StoreError: *store* cannot describe itself.
    """
    location = store.describe(operation_id)
    return _directory_to_name(location.parent) if isinstance(location, Path) else _url_to_name(str(store.describe()))


def _url_to_name(url: str) -> str:
    if "://" not in url:
        return ""
    try:
        default = str(default_place())
        return "" if "://" in default and open_store(default).describe() == url else url
    except (ValueError, ImportError, StoreError):  # the default of another program, or there is none
        return url


def _directory_to_name(directory: Path) -> str:
    try:
        is_default = directory.resolve() == Path(default_place()).expanduser().resolve()
    except (OSError, ValueError, RuntimeError, StoreError):
        is_default = False
    if is_default:
        return ""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return str(directory)
    return str(directory.relative_to(here) if directory.is_relative_to(here) else directory)


def default_auto_cleanup() -> bool:
    """``$CHECKPOINT_AUTO_CLEANUP``, else True.

    Raises:
        ValueError: It is neither a yes nor a no.
    """
    text = os.environ.get("CHECKPOINT_AUTO_CLEANUP", "").strip().lower()
    if text and text not in _YES | _NO:
        raise ValueError(f"CHECKPOINT_AUTO_CLEANUP must be true or false, not {text!r}")
    return text not in _NO
