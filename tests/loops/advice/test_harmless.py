"""Which variables may begin anew in each run."""

from __future__ import annotations

import ast
import textwrap

import pytest

from resumable._loops.advice.carried import carried_by
from resumable._loops.advice.harmless import caches
from resumable._loops.advice.written import Written


def cached(body: str) -> set[str]:
    loop = next(one for one in ast.walk(ast.parse(f"for x in y:\n    {body}")) if isinstance(one, ast.For))
    return caches(loop, {"x"})


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param("if x not in d: d[x] = f(x)\n    g(d[x])", {"d"}, id="a cache"),
        pytest.param("if x not in d:\n        y = f(x)\n        d[x] = y\n    g(d[x])", {"d"}, id="by steps"),
        pytest.param("v = d.get(x)\n    if v is None: v = f(x); d[x] = v\n    g(v)", {"d"}, id="by get"),
        pytest.param("try: v = d[x]\n    except KeyError: v = d[x] = f(x)\n    g(v)", {"d"}, id="by an error"),
        pytest.param("if x not in d: d[x] = len(d)\n    g(d[x])", set(), id="numbers in the order of their coming"),
        pytest.param("if x not in d: d[x] = 1; g(x)\n    h(d[x])", set(), id="the first of its kind is worked on"),
        pytest.param("if x not in d: e[x] = f(x)\n    g(e[x])", set(), id="another dict"),
        pytest.param("if x not in d: d[x] = f(x)\n    d[x] += 1\n    g(d[x])", set(), id="counts"),
        pytest.param("if x not in d: d[x] = f(x)\n    d.clear(); g(d[x])", set(), id="emptied"),
        pytest.param("v = d.get(x)\n    if v is None: continue\n    d[x] = f(x)", set(), id="filled elsewhere"),
        pytest.param("if x.k not in d: d[x.k] = x\n    g(d[x.k])", set(), id="the first of its kind"),
        pytest.param("if x.k != last: v = f(x.k); last = x.k\n    g(v)", {"last", "v"}, id="the last key"),
        pytest.param("if x.k != last: v = 0; last = x.k\n    v += x.n", set(), id="a sum for each key"),
        pytest.param("if x.k != last: write(x.k); last = x.k", set(), id="a heading"),
    ],
)
def test_a_cache_is_filled_only_where_something_is_missing(body: str, names: set[str]) -> None:
    assert cached(body) == names


HARMLESS = {
    "a rate": """
        n, began = 0, time.time()
        for x in y:
            n += 1
            rate = n / (time.time() - began)
            bar.set_postfix(rate=rate)
        """,
    "a count on the terminal": """
        n = 0
        for x in y:
            n += 1
            sys.stderr.write(f"{n}")
        """,
    "when it was told last": """
        last = 0
        for x in y:
            if time.time() - last > 5:
                print(x)
                last = time.time()
        """,
    "a token": """
        token, expires = None, 0
        for x in y:
            if time.time() > expires:
                token, expires = login()
            get(x, token)
        """,
    "a connection": """
        db = None
        for x in y:
            if db is None or db.closed:
                db = connect()
            db.get(x)
        """,
    "a delay": """
        delay = 1
        for x in y:
            try:
                get(x)
            except OSError:
                delay = min(delay * 2, 60)
                api.retry(x, delay)
        """,
    "a cache": """
        known = {}
        for x in y:
            if x.k not in known:
                known[x.k] = look(x.k)
            f(known[x.k])
        """,
    "a cache by its name": """
        cache = {}
        for x in y:
            try:
                found = cache[x]
            except KeyError:
                found = cache[x] = look(x)
            f(found)
        """,
}
LOST = {
    "a rate that falls": ("rate = 1.0\nfor x in y:\n    train(x, rate)\n    rate *= 0.9", "rate"),
    "a number of files": ("n = 0\nfor x in y:\n    n += 1\n    name = f'{n}.txt'\n    save(name)", "n"),
    "printed to a file": ("n = 0\nfor x in y:\n    n += 1\n    print(n, file=rows)", "n"),
    "of the item by a step": ("last = None\nfor x in y:\n    key = x.key\n    f(last)\n    last = key", "last"),
    "a flag": ("is_first = True\nfor x in y:\n    if is_first: head()\n    is_first = False", "is_first"),
    "groups": ("groups = {}\nfor x in y:\n    if x.k not in groups:\n        groups[x.k] = []\nf(groups)", "groups"),
    "seen": ("seen = set()\nfor x in y:\n    if x not in seen:\n        seen.add(x)\n        f(x)", "seen"),
}


def names_of(text: str) -> frozenset[str]:
    tree = ast.parse(textwrap.dedent(text))
    loop = next(one for one in ast.walk(tree) if isinstance(one, ast.For))
    return carried_by(Written(loop, tree)).names - carried_by(Written(loop, tree)).made_where_missing


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_what_is_not_carried_on(text: str) -> None:
    assert names_of(text) == set()


@pytest.mark.parametrize(("text", "name"), LOST.values(), ids=LOST)
def test_what_is_carried_on(text: str, name: str) -> None:
    assert names_of(text) == {name}
