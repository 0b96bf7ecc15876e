"""What a call's arguments say: which operation it is, and whether it is the one that was interrupted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable import Checkpoint, CheckpointManager, checkpointed, loop, resumable
from resumable._api.operation_id import check_operation_id, encodable_arguments, name_of, operation_id_for
from resumable._report.stored.summary import summaries
from resumable.stores import FileStore
from tests.support.stores import put


@dataclass
class Repo:
    full_name: str
    stars: int = 0


def fetch(repo: Any, branch: str = "main", *paths: str, depth: int = 1, **more: Any) -> None: ...


SIGNATURE = inspect.signature(fetch)


def bound(args: tuple[Any, ...], kwargs: dict[str, Any], signature: inspect.Signature = SIGNATURE) -> Any:
    arguments = signature.bind(*args, **kwargs)
    arguments.apply_defaults()
    return arguments


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("fetch", "fetch", id="no field"),
        pytest.param("{repo.full_name}@{branch}", "a/b@main", id="attribute and default"),
        pytest.param("{paths[0]}", "src", id="item"),
        pytest.param("{more[lang]}", "py", id="key"),
        pytest.param("{depth:03}", "007", id="format"),
        pytest.param("{depth:{more[width]}}", "   7", id="nested format"),
        pytest.param("{branch!r}", "'main'", id="conversion"),
        pytest.param("{{{branch}}}", "{main}", id="braces"),
    ],
)
def test_a_template_is_filled_from_the_call(template: str, expected: str) -> None:
    check_operation_id(template, SIGNATURE)
    args = (Repo("a/b"), "main", "src")

    call = bound(args, {"depth": 7, "lang": "py", "width": 4})

    assert operation_id_for(template, call, name="fetch") == expected


@pytest.mark.parametrize(
    ("template", "says"),
    [
        pytest.param("{repos}", "parameters are: repo, branch, paths, depth, more", id="misspelled"),
        pytest.param("{}", "is not a parameter", id="no name"),
        pytest.param("{0}", "is not a parameter", id="number"),
        pytest.param("{depth:{width}}", "{width} is not a parameter", id="in a format"),
        pytest.param("{repo.__class__}", "private", id="dunder"),
        pytest.param("{repo._token}", "private", id="private"),
        pytest.param("{repo.owner.__init__.__globals__[key]}", "private", id="deep"),
        pytest.param("{paths[0]._raw}", "private", id="after an item"),
        pytest.param("{repo", "literal brace", id="unbalanced"),
    ],
)
def test_a_template_that_no_call_can_fill_is_refused_when_decorating(template: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_operation_id(template, SIGNATURE)


def test_an_empty_id_is_refused_before_anything_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came from an unset variable, and all such jobs met in one checkpoint."""
    monkeypatch.chdir(tmp_path)
    manager = CheckpointManager()

    @resumable(operation_id="{repo}")
    def job(cp: Checkpoint, repo: str) -> None: ...

    for begin in (
        lambda: checkpointed(""),
        lambda: loop([1], ""),
        lambda: resumable(operation_id="")(fetch),
        lambda: job(""),
        lambda: resumable(operation_id=lambda repo: repo)(job.__wrapped__)(""),
        lambda: manager.load_checkpoint(""),
        lambda: manager.create_checkpoint("", {}),
    ):
        with pytest.raises(ValueError, match="empty"):
            begin()
    assert not list(tmp_path.iterdir())


def test_what_another_release_saved_under_an_empty_id_is_listed_and_removed(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    put(store, "", b'{"version": "1.0", "operation_id": ""}')

    assert [one.operation_id for one in summaries(store)] == [""]
    assert CheckpointManager(store=store).delete_checkpoint("")
    assert not list(summaries(store))


def test_what_is_neither_text_nor_callable_names_nothing() -> None:
    with pytest.raises(TypeError, match="operation_id must be a str or callable, not int"):
        check_operation_id(7, SIGNATURE)


def test_a_callable_is_called_as_the_function_is() -> None:
    def name(repo: str, branch: str, *paths: str, **more: Any) -> str:
        return f"{repo}:{branch}:{paths}:{more}"

    assert operation_id_for(name, bound(("a/b",), {"depth": 2}), name="fetch") == "a/b:main:():{'depth': 2}"


def test_a_callable_must_give_a_str() -> None:
    not_text: Callable[..., Any] = lambda *args, **kwargs: 7  # noqa: E731

    with pytest.raises(TypeError, match="must return a str, not int"):
        operation_id_for(not_text, bound(("a",), {}), name="fetch")


# A name made from the call


def bare(*args: Any, **kwargs: Any) -> str:
    return operation_id_for(None, bound(args, kwargs), name="fetch")


def test_the_same_call_has_the_same_name_however_it_is_written() -> None:
    assert bare("a") == bare(repo="a") == bare("a", "main", depth=1) == "fetch-6d50cb56b651"


@pytest.mark.parametrize("other", [{"repo": "b"}, {"repo": "a", "depth": 2}, {"repo": "a", "lang": "py"}])
def test_other_arguments_make_another_name(other: dict[str, Any]) -> None:
    assert bare(**other) != bare("a")


def test_what_has_no_order_has_a_stable_name() -> None:
    assert bare({"x", "y", "z"}) == bare({"z", "y", "x"})
    assert bare({"x": 1, "y": 2}) == bare({"y": 2, "x": 1})


@pytest.mark.parametrize("value", [Repo("a"), Path("a"), datetime(2026, 1, 1), (1, 2), b"a", None])
def test_common_values_can_be_told(value: Any) -> None:
    assert bare(value) == bare(value)


@pytest.mark.parametrize("value", [object(), print, "\ud800"])
def test_a_value_that_cannot_be_told_asks_for_a_name(value: Any) -> None:
    with pytest.raises(TypeError, match=r"'repo'.*give operation_id"):
        bare(value)


def test_a_function_without_arguments_is_its_name() -> None:
    assert operation_id_for(None, bound((), {}, inspect.signature(lambda: None)), name="crawl") == "crawl"


def test_the_receiver_secrets_and_the_ignored_are_no_part_of_the_name() -> None:
    def method(self: Any, x: int, token: str, depth: int) -> None: ...

    signature = inspect.signature(method)
    names = {
        operation_id_for(None, bound((receiver, 1, token, depth), {}, signature), name="m", ignore=("depth",))
        for receiver, token, depth in [(object(), "a", 1), (object(), "b", 2)]
    }

    assert len(names) == 1


def test_a_name_has_no_main_and_no_locals() -> None:
    def inner() -> None: ...

    assert name_of(inner) == f"{__name__}.test_a_name_has_no_main_and_no_locals.inner"
    inner.__module__ = "__main__"
    assert name_of(inner) == "test_a_name_has_no_main_and_no_locals.inner"


# What must be the same on a resume


def kept(*args: Any, template: Any = "fetch", ignore: tuple[str, ...] = (), **kwargs: Any) -> dict[str, Any]:
    return encodable_arguments(template, bound(args, kwargs), ignore=ignore)


def test_arguments_are_kept_with_their_defaults() -> None:
    assert kept("a", depth=3) == {"repo": "a", "branch": "main", "paths": [], "depth": 3, "more": {}}


def test_what_the_id_tells_is_not_compared() -> None:
    """The id may tell it more coarsely: a day of a time stamp, the name of a repository that gains stars."""
    assert kept(Repo("a"), template="{repo.full_name}-{depth:02}").keys() == {"branch", "paths", "more"}


def test_what_has_no_stable_json_is_left_out() -> None:
    assert "repo" not in kept(object())


def test_secrets_are_not_written_down() -> None:
    def login(user: str, token: str, api_key: str, db_password: str, max_tokens: int) -> None: ...

    call = bound(("u", "t", "k", "p", 5), {}, inspect.signature(login))

    assert encodable_arguments("login", call) == {"user": "u", "max_tokens": 5}


def test_a_long_argument_is_kept_as_a_digest() -> None:
    """It would be written again at each save."""
    urls = [f"https://example.com/{n}" for n in range(10_000)]

    assert kept(urls)["repo"].startswith("list of 10,000, SHA-256 ")
    assert kept(urls) == kept(list(urls)) != kept([*urls, "more"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values)
def test_what_is_kept_is_equal_after_a_round_trip(value: Any) -> None:
    """Else a resume with the same arguments would be refused."""
    import msgspec

    found = kept(value, ignore=("branch",))

    assert msgspec.json.decode(msgspec.json.encode(found)) == found
