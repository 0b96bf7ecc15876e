"""Error and log texts have one form, so that they read alike."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import resumable

pytestmark = pytest.mark.slow

PACKAGE = Path(resumable.__file__).parent
SEVERAL = re.compile(r"[a-z)\]'s]\. [A-Z]")
IS_NO = re.compile(r"(?<!there )\b(is|are) no (?!longer|more\b)")
FOREIGN = ("OpenTelemetry ", "Encoding objects of type ")  # a name, and a text of msgspec


def texts() -> Iterator[tuple[str, str]]:
    """Each text of a ``raise`` or a log call, where it is, and with ``%s`` for what is filled in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.exc if isinstance(node, ast.Raise) else node
            if not isinstance(call, ast.Call) or not call.args or not (call is not node or is_log(call.func)):
                continue
            if " " in (text := template(call.args[0])):
                yield f"{path.relative_to(PACKAGE)}:{call.lineno}", text


def is_log(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and ast.unparse(function.value) == "_log"


def template(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "%s" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str]]:
    return list(texts())


def test_a_text_of_several_sentences_ends_with_a_full_stop(found: list[tuple[str, str]]) -> None:
    """Except one that ends with a command, two spaces after the words, or with what is filled in."""
    assert len(found) > 300
    open_ended = [one for one in found if not one[1].endswith((".", "?", "%s")) and "  " not in one[1]]
    assert [one for one in open_ended if SEVERAL.search(one[1])] == []


def test_a_text_begins_with_a_small_letter(found: list[tuple[str, str]]) -> None:
    assert [one for one in found if re.match("[A-Z][a-z]", one[1]) and not one[1].startswith(FOREIGN)] == []


def test_what_something_is_not_is_said_as_people_say_it(found: list[tuple[str, str]]) -> None:
    assert [one for one in found if IS_NO.search(one[1])] == []
