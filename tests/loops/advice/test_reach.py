"""What a variable's values reach: only then it matters that it begins anew."""

from __future__ import annotations

import ast
import textwrap

import pytest

from resumable._loops.advice.carried import carried_by
from resumable._loops.advice.written import Written


def told(text: str) -> set[str]:
    tree = ast.parse(textwrap.dedent(text))
    loop = next(one for one in ast.walk(tree) if isinstance(one, ast.For))
    carried = carried_by(Written(loop, tree))
    return set(carried.names - carried.made_where_missing) | set(carried.nexts)


ORDINARY = {
    "only printed": "n = 0\nfor x in y:\n    n = n + 1\n    print(n, x)",
    "a mean that is printed": "a = 0.0\nfor x in y:\n    a = 0.9 * a + 0.1 * f(x)\n    print(f'{a:.3f}')",
    "the last ones, printed": "h = []\nfor x in y:\n    h.append(x)\n    if len(h) > 3: h.pop(0)\n    print(h)",
    "the best, printed": "b = 0\nfor x in y:\n    if x > b:\n        b = x\n        print('best', b)",
    "to the error stream": "n = 0\nfor x in y:\n    n += 1\n    print(n, file=sys.stderr)",
    "a pause after so many": "n = 0\nfor x in y:\n    n += 1\n    if n >= 9:\n        sleep(1)\n        n = 0",
    "a message after so many": "n = 0\nfor x in y:\n    n += 1\n    if n == 9:\n        post(x)\n        n = 0",
    "a browser for so many": """
        n, b = 0, None
        for x in y:
            n += 1
            if b is None or n > 9:
                b, n = start(), 0
            save(b.get(x))
        """,
    "errors in a row": """
        bad = 0
        for x in y:
            try:
                rows.write(get(x))
            except OSError:
                bad += 1
                if bad > 5:
                    raise SystemExit(f"{bad} failures")
                continue
            bad = 0
        """,
    "a sleep between equals": "p = None\nfor x in y:\n    if x.host == p: sleep(1)\n    save(x)\n    p = x.host",
    "a heading on the terminal": "p = None\nfor x in y:\n    if x.g != p: print(x.g)\n    p = x.g\n    save(x)",
    "what was warned of": "w = set()\nfor x in y:\n    if x not in w:\n        log.warning(x)\n        w.add(x)",
    "folders that were made": "m = set()\nfor x in y:\n    if x.d not in m:\n        makedirs(x.d)\n        m.add(x.d)",
    "times": """
        spent, calls = defaultdict(float), deque()
        for x in y:
            t = time.time()
            save(x)
            spent["save"] += time.time() - t
            calls.append(time.time())
        print(spent, calls)
        """,
    "requests within a second": """
        calls = deque()
        for x in y:
            while calls and time.time() - calls[0] > 1: calls.popleft()
            if len(calls) > 5: wait_a_bit()
            calls.append(time.time())
        """,
    "what is left": "q = 9\nfor x in y:\n    if q < 2: sleep(1)\n    r = get(x)\n    q = r.left\n    save(r)",
    "a proxy": "n = 0\nfor x in y:\n    r = get(x, proxy=P[n])\n    if not r: n = (n + 1) % 3\n    save(r)",
    "the next proxy": "proxies = cycle(p)\nfor x in y:\n    save(get(x, next(proxies)))",
    "a sign that turns": "signs = cycle('|/-')\nfor x in y:\n    print(next(signs))\n    save(x)",
    "misses in a row": """
        n = 0
        for x in y:
            r = get(x)
            if not r:
                n += 1
                if n > 9:
                    raise LookupError(n)
            else:
                n = 0
            save(r)
        """,
    "a list of one item": "l = []\nfor x in y:\n    l.extend(x.parts)\n    save(l)\n    l.clear()",
    "connections that are closed": """
        c = {}
        for x in y:
            if x.host not in c:
                c[x.host] = connect(x.host)
            save(c[x.host].get(x))
        for one in c.values():
            one.close()
        """,
    "a function of each item": """
        for x in y:
            for n in x:
                def one(i):
                    save(n, i)
                for i in n:
                    one(i)
        """,
    "the largest, printed": "h = []\nfor x in y:\n    heappush(h, x)\n    if len(h) > 9: heappop(h)\n    print(h)",
    "two loops": "n = 0\nfor x in y:\n    n += 1\n    print(n)\nn = 0\nfor x in z:\n    n += 1\n    print(n)",
}
LOST = {
    "into a file": ("n = 0\nfor x in y:\n    n += 1\n    rows.write(f'{n},{x}')", {"n"}),
    "by a variable": ("n = 0\nfor x in y:\n    n += 1\n    key = f'{n}'\n    save(key, x)", {"n"}),
    "into a list that lasts": ("n = 0\nl = []\nfor x in y:\n    n += x\n    l.append(n)\nf(l)", {"n", "l"}),
    "a mean that is kept": ("a = 0.0\nfor x in y:\n    a = 0.9 * a + x\n    rows.write(a)", {"a"}),
    "what is left out": ("s = {}\nfor x in y:\n    if s.get(x): continue\n    s[x] = True\n    save(x)", {"s"}),
    "a row after so many": (
        "n = 0\nfor x in y:\n    n += 1\n    if n > 9:\n        f.write('')\n        n = 0",
        {"n"},
    ),
    "a limit": ("n = 0\nfor x in y:\n    n += 1\n    save(x)\n    if n >= 10: sys.exit()", {"n"}),
    "patience": (
        """
        best, bad = 0, 0
        for x in y:
            if f(x) > best: best, bad = f(x), 0
            else: bad += 1
            if bad > 5: break
        """,
        {"best", "bad"},
    ),
    "a heading in a file": ("p = None\nfor x in y:\n    if x.g != p: f.write(x.g)\n    p = x.g", {"p"}),
    "a batch": ("b = []\nfor x in y:\n    b.append(x)\n    if len(b) > 2:\n        f.write(b)\n        b = []", {"b"}),
    "a count that is told at the end": ("n = 0\nfor x in y:\n    n += 1\n    print(n)\nprint('total', n)", {"n"}),
    "which file": ("b = 0\nfor x in y:\n    b = not b\n    (f if b else g).write(x)", {"b"}),
    "lists of a dict": ("d = defaultdict(list)\nfor x in y:\n    d[x.k].append(x)\nsave(d)", {"d"}),
    "groups": ("d = {}\nfor x in y:\n    d.setdefault(x.k, []).append(x)\nfor k in d: print(k)", {"d"}),
    "a file for each key": (
        "k = None\nfor x in y:\n    if x.k != k:\n        f = open(x.k, 'w')\n        k = x.k\n    f.write(x)",
        {"k"},
    ),
    "the smallest ones": ("h = []\nfor x in y:\n    heapq.heappush(h, x)\nprint(h)", {"h"}),
    "rows of a frame": ("f = Frame()\nfor x in y:\n    f.loc[x.k] = x\nf.save()", {"f"}),
    "an object as a whole": ("def f():\n    a = A()\n    for x in y:\n        a.n += 1\n    return a", {"a.n"}),
    "an assertion": ("n = 0\nfor x in y:\n    n += 1\n    assert n < 9", {"n"}),
    "what a function returns": ("for x in y:\n    pass\n", set()),
    "the next number": ("numbers = count()\nfor x in y:\n    save(x, next(numbers))", {"numbers"}),
    "given out": ("n = 0\ndef f():\n    n = 0\n    for x in y:\n        n += 1\n        yield n, x", {"n"}),
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_what_is_told_slept_or_timed_may_begin_anew(text: str) -> None:
    assert told(text) == set()


@pytest.mark.parametrize(("text", "names"), LOST.values(), ids=LOST)
def test_what_lasts_or_decides_may_not(text: str, names: set[str]) -> None:
    assert told(text) == names
