"""Commands that a person can paste into a shell."""

from __future__ import annotations

from resumable._report.messages import stopped


def test_what_is_to_be_typed_names_the_directory_where_it_is_not_looked_for() -> None:
    text = stopped("stars", 1, None, "", "my checkpoints")

    assert "look        resumable show --dir 'my checkpoints' stars\n" in text
    assert text.endswith("start over  resumable rm --dir 'my checkpoints' stars")


def test_what_is_to_be_typed_is_quoted_for_the_shell() -> None:
    text = stopped("it's $HOME", 1, None, "")

    assert text.startswith("it's $HOME: stopped at 1. Saved")
    assert "go on       run it again\n" in text
    assert text.endswith("""resumable rm 'it'"'"'s $HOME'""")
