"""What a dict tells of its keys."""

from __future__ import annotations

from typing import Any

import pytest

from resumable._runtime.dicts import SIZES_WITH_TEXT_KEYS
from resumable._runtime.interpreter import has_gil


class Text(str):
    __slots__ = ()


class Thing:
    def __init__(self, **names: Any) -> None:
        vars(self).update(names)


@pytest.mark.skipif(not has_gil(), reason="other interpreters store dicts otherwise")
@pytest.mark.parametrize("count", [1, 3, 5, 6, 10, 11, 21, 22])
def test_the_size_of_a_small_dict_with_text_keys_is_known(count: int) -> None:
    names = [f"name_{number}" for number in range(count)]
    grown: dict[str, int] = {}
    for name in names:
        grown[name] = 1
    for made in (grown, dict(grown), {**grown}, grown.copy(), dict(zip(names, names, strict=True))):
        assert made.__sizeof__() in SIZES_WITH_TEXT_KEYS


@pytest.mark.parametrize("odd", [1, None, 1.5, ("a",), b"a", Text("a"), Text("name_0")])
def test_no_dict_with_another_key_has_such_a_size(odd: Any) -> None:
    """Not even after the key was removed: then it is looked at key by key."""
    for count in range(300):
        names = [f"name_{number}" for number in range(count)]
        grown: dict[Any, Any] = {odd: 1}
        grown.update(dict.fromkeys(names))
        last = {**dict.fromkeys(names), odd: 1}
        thing = vars(Thing(**dict.fromkeys(names)))
        thing[odd] = 1
        thinned = {**dict.fromkeys(range(200)), odd: 1}
        for number in range(200):
            thinned.pop(number, None)
        for made in (grown, last, thing, thinned, grown.copy(), dict(last), {**grown}, last | {"a": 1}):
            if not {str}.issuperset(map(type, made)):
                assert made.__sizeof__() not in SIZES_WITH_TEXT_KEYS
