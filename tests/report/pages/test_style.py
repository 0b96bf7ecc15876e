"""The style sheet of all pages."""

from __future__ import annotations

import re

from resumable._report.pages.style import STYLE


def test_every_colour_is_defined_and_used() -> None:
    used, defined = set(re.findall(r"var\((--\w+)\)", STYLE)), set(re.findall(r"(--\w+):", STYLE))

    assert used == defined


def test_the_dark_colours_are_all_there() -> None:
    light, dark = (set(re.findall(r"(--\w+):", part)) for part in re.findall(r":root\{([^}]*)\}", STYLE)[:2])

    assert light == dark


def test_it_needs_nothing_from_elsewhere_and_cannot_end_its_element() -> None:
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "<" not in STYLE
    assert STYLE.count("{") == STYLE.count("}")
