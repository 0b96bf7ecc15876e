"""What a body reads, sets and changes, in its order."""

from __future__ import annotations

import ast

import pytest

from resumable._loops.advice.flow import Flow, is_empty


def flow(body: str) -> Flow:
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    loop = ast.parse(f"for item in items:\n{lines}").body[0]
    assert isinstance(loop, ast.For)
    return Flow(loop)


@pytest.mark.parametrize(
    ("body", "exposed"),
    [
        pytest.param("n = item\nf(n)", {"f"}, id="set before it is read"),
        pytest.param("f(n)\nn = item", {"f", "n"}, id="read before it is set"),
        pytest.param("n += item", {"n"}, id="added to"),
        pytest.param("if item:\n    n = 1\nn", {"n"}, id="set on one way"),
        pytest.param("if item:\n    n = 1\nelse:\n    n = 2\nn", set(), id="set on both ways"),
        pytest.param("if item:\n    continue\nelse:\n    n = 2\nn", set(), id="set on the way that leads there"),
        pytest.param("try:\n    n = 1\nexcept E:\n    pass\nn", {"n"}, id="perhaps not set"),
        pytest.param("with a as n:\n    n", {"a"}, id="set by with"),
        pytest.param("[n for n in item]", set(), id="set by a comprehension"),
        pytest.param("self.a.b = 1\nself.a.b", {"self", "self.a"}, id="of an object in an object"),
        pytest.param("self = item\nself.a.b", set(), id="of an object that is set"),
    ],
)
def test_what_may_be_read_before_the_body_has_set_it(body: str, exposed: set[str]) -> None:
    assert flow(body).exposed == exposed


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("rows.append(item)", {"rows"}),
        ("self.stats.rows.append(item)", {"self.stats.rows"}),
        ("table[item][1] = 2", {"table"}),
        ("frame.loc[item] = 2", {"frame"}),
        ("heappush(heap, item)", {"heap"}),
        ("rows.sort()", set()),
    ],
)
def test_what_is_changed_in_place(body: str, changed: set[str]) -> None:
    assert flow(body).changed == changed


def test_what_is_set_on_each_way_to_the_end() -> None:
    assert flow("a = 1\nif item:\n    b = 2\n    continue\nc = 3").at_end == {"item", "a"}
    assert flow("a = 1\nbreak").at_end is None


def test_what_is_made_where_it_is_missing() -> None:
    assert flow("if db is None:\n    db = connect()\nf(db)").made_where_missing == {"db"}
    assert flow("if db is None or item > db:\n    db = item").made_where_missing == set()


def test_a_batch_is_added_to_and_emptied() -> None:
    batch = flow("batch.append(item)\nif len(batch) > 9:\n    batch = []\nrest.add(1)\nrest.clear()")

    assert (batch.added, batch.emptied) == ({"batch", "rest"}, {"batch", "rest"})


@pytest.mark.parametrize(
    ("text", "empty"), [("[]", True), ("{}", True), ("[1]", False), ("{1: 2}", False), ("()", False)]
)
def test_an_empty_list_or_dict_is_known(text: str, *, empty: bool) -> None:
    assert is_empty(ast.parse(text, mode="eval").body) == empty
