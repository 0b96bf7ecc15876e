"""The room's face: all public names are there, and each module is loaded with the first use of a name in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import resumable.ratelimit


def loaded_by(statement: str) -> set[str]:
    program = (
        f"import sys; {statement}; print(*(name for name in sys.modules if name.startswith('resumable.ratelimit')))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.rpartition(".")[2] for name in found.stdout.split()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "modules"),
    [
        pytest.param("from resumable import wait_rate_limit", {"_wait"}, id="a wait"),
        pytest.param("from resumable.ratelimit import read_headers", {"_headers", "_limits", "_values"}, id="a reader"),
        pytest.param("from resumable.ratelimit import RateLimit", {"_limits"}, id="a value"),
    ],
)
def test_a_module_is_loaded_with_its_first_use(statement: str, modules: set[str]) -> None:
    assert loaded_by(statement) == {"ratelimit", *modules}


def test_all_names_can_be_seen_and_imported() -> None:
    names = resumable.ratelimit.__all__

    assert set(names) <= set(dir(resumable.ratelimit))
    assert [getattr(resumable.ratelimit, name).__name__ for name in names] == names


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"'resumable.ratelimit' has no attribute 'read_header'"):
        resumable.ratelimit.read_header  # type: ignore[attr-defined]  # noqa: B018
