"""Which variables may begin anew in each run."""

from __future__ import annotations

import ast
import textwrap

import pytest

from resumable._loops.harmless import may_begin_anew


def harmless(text: str) -> set[str]:
    return may_begin_anew(next(one for one in ast.walk(ast.parse(textwrap.dedent(text))) if isinstance(one, ast.For)))


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param("if time.time() - at > 5: print(x); at = time.time()", {"at"}, id="the time of the last message"),
        pytest.param("at = x.time\n    f(at)", set(), id="a time of the item"),
        pytest.param("last = max(last, datetime.now())", set(), id="a time beside others"),
        pytest.param("delay = min(delay * 2, 60)", {"delay"}, id="a delay with a limit"),
        pytest.param("delay = delay * 2 if x else 1", set(), id="a delay in an expression"),
        pytest.param("best = max(best, x * 2)", set(), id="the largest"),
        pytest.param("total = total + x", set(), id="a sum"),
        pytest.param("if x not in d: d[x] = f(x)\n    g(d[x])", {"d"}, id="a cache"),
        pytest.param("if x not in d:\n        y = f(x)\n        d[x] = y\n    g(d[x])", {"d"}, id="a cache by steps"),
        pytest.param("if x not in d: d[x] = len(d)\n    g(d[x])", set(), id="numbers in the order of their coming"),
        pytest.param("if x not in d: d[x] = 1; g(x)\n    h(d[x])", set(), id="the first of its kind is worked on"),
        pytest.param("if x not in d: d[x] = f(x)", set(), id="what nobody reads here"),
        pytest.param("if x not in d: e[x] = f(x)\n    g(e[x])", set(), id="another dict"),
        pytest.param("if x not in d: d[x] = f(x)\n    d[x] += 1\n    g(d[x])", set(), id="counts"),
        pytest.param("if x not in d: d[x] = []\n    d[x].append(x)\n    d.clear(); g(d[x])", set(), id="emptied"),
    ],
)
def test_what_may_begin_anew(body: str, names: set[str]) -> None:
    assert harmless(f"for x in y:\n    {body}") == names
