"""Which variables a body carries on from item to item."""

from __future__ import annotations

import ast
import textwrap

import pytest

from resumable._loops.advice.carried import Carried, carried_by
from resumable._loops.advice.written import Written


def carried(text: str) -> Carried:
    tree = ast.parse(textwrap.dedent(text))
    loop = next(one for one in ast.walk(tree) if isinstance(one, ast.For))
    return carried_by(Written(loop, tree))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("n = 0\nfor x in y:\n    n += 1\n    f(n)", {"n"}, id="a number that is used"),
        pytest.param("n = 0\nfor x in y:\n    n += 1\nprint(n)", {"n"}, id="a number that is told at the end"),
        pytest.param("n = 0\nfor x in y:\n    n += 1\n    if n % 9 == 0:\n        print(n)", set(), id="how far it is"),
        pytest.param("n = 0\nfor x in y:\n    n += 1\n    if n == 9: break", {"n"}, id="a limit"),
        pytest.param("n = 0\nfor x in y:\n    n += 1\n    if n % 9 == 0: f()", set(), id="now and then"),
        pytest.param("n = 0\nfor x in y:\n    n += 1\n    if n == 9: print(n)", set(), id="told once"),
        pytest.param("n = 0\nfor x in y:\n    n = x\n    f(n)", set(), id="set by each item"),
        pytest.param("n = 0\nfor x in y:\n    if x:\n        n = x\nf(n)", {"n"}, id="set by some items"),
        pytest.param("n = 0\nfor x in y:\n    if x: n = 1\n    else: n = 2\n    f(n)", set(), id="set on both ways"),
        pytest.param("n = 0\nfor x in y:\n    if x: continue\n    n = x\nf(n)", {"n"}, id="not set where it continues"),
        pytest.param("n = 0\nfor x in y:\n    if x: n = x\nelse:\n    f(n)", {"n"}, id="read in its else"),
        pytest.param("b = None\nfor x in y:\n    f(b)\n    b = x", {"b"}, id="of the item before"),
        pytest.param("b = 0\nfor x in y:\n    b = max(b, x)\nf(b)", {"b"}, id="the largest"),
        pytest.param("s = set()\nfor x in y:\n    if x in s: continue\n    s.add(x)", {"s"}, id="a set of the seen"),
        pytest.param("s = set()\nfor x in y:\n    s.add(x)", set(), id="a set that nobody reads"),
        pytest.param("for x in y:\n    s = []\n    for z in x:\n        s.append(z)\n    f(s)", set(), id="made anew"),
        pytest.param("d = {}\nfor x in y:\n    d[x] = 1\nf(d)", {"d"}, id="a dict"),
        pytest.param("for x in y:\n    self.n += 1", {"self.n"}, id="a number of an object"),
        pytest.param("for x in y:\n    x.n += 1", set(), id="a number of the item"),
        pytest.param("for x in y:\n    self.x = x\n    f(self.x)", set(), id="the present item of an object"),
        pytest.param("n = 0\nfor x in y:\n    try: f(x)\n    except E: n += 1\nprint(n)", {"n"}, id="a count"),
        pytest.param("d = 1\nfor x in y:\n    try: f(x)\n    except E: d *= 2\n    else: d = 1", set(), id="a delay"),
        pytest.param("f = 1\nfor x in y:\n    f *= x\ng(f)", {"f"}, id="a product"),
        pytest.param("global n\nfor x in y:\n    n += 1", {"n"}, id="of the module"),
    ],
)
def test_what_is_carried_on(text: str, names: set[str]) -> None:
    assert carried(text).names == names


def test_a_batch_is_filled_and_emptied() -> None:
    text = """
    batch, window = [], []
    for x in y:
        batch.append(x)
        window.append(x)
        if len(batch) == 3:
            f(batch, window)
            batch = []
    """
    assert carried(text).collects == {"batch"}


def test_an_iterator_beside_the_loop() -> None:
    assert carried("c = count()\nfor x in y:\n    n = next(c)\n    f(n)").nexts == {"c"}
    assert carried("for x in y:\n    n = next(iter(x))\n    c = iter(x)\n    f(next(c))").nexts == set()


def test_what_is_only_made_where_it_is_missing() -> None:
    assert carried("c = None\nfor x in y:\n    if c is None: c = f()\n    c.g(x)").made_where_missing == {"c"}
    assert carried("c = None\nfor x in y:\n    if c is None: g()\n    c = x").made_where_missing == set()
    assert carried("c = None\nfor x in y:\n    if c is None or x > 9: c = f(x)\n    g(c)").made_where_missing == {"c"}
    assert carried("c = None\nfor x in y:\n    if c is None or x > c: c = x\nf(c)").made_where_missing == set()


def test_the_constant_at_the_beginning() -> None:
    assert carried("n = 1\nn = 5\nfor x in y:\n    n += 1\n    f(n)").begins == {"n": 5}
    assert carried("n = g()\nfor x in y:\n    n += 1\n    f(n)").begins == {}
