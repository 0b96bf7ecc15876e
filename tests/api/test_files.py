"""Files of a plain checkpoint: a sink and an artifact agree with the position, whatever ends a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable import InputChangedError, checkpointed
from tests.support.blocks import NEVER, Stop, stopped


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(fails_at: int) -> None:
    with checkpointed("job", NEVER, store="ck") as cp:
        rows, model = cp.sink("rows.csv", header="number\n"), cp.artifact("model")
        for number in cp.remaining(range(5)):
            rows.write(f"{number}\n")
            with model.write() as path:
                path.write_text(f"after {number}")
            if number == fails_at:
                raise Stop
        model.publish("model.txt")


def test_after_an_error_each_row_is_there_once_and_the_model_is_the_last_one() -> None:
    for fails_at in (2, 3):
        with stopped():
            run(fails_at)

    run(-1)

    assert Path("rows.csv").read_text() == "number\n0\n1\n2\n3\n4\n"
    assert Path("model.txt").read_text() == "after 4"


@pytest.mark.parametrize("mode", ["t", "b"])
def test_one_file_has_one_sink(mode: str) -> None:
    with checkpointed("job", store="ck") as cp:
        sink = cp.sink("rows", mode)  # type: ignore[call-overload]

        assert cp.sink("./rows", mode) is sink  # type: ignore[call-overload]
        assert sink.mode == mode


@pytest.mark.parametrize(
    ("existing", "after"),
    [("append", "old\nnew\n"), ("replace", "new\n"), ("refuse", "old\n")],
)
def test_a_new_operation_does_with_an_old_file_what_it_is_told(existing: str, after: str) -> None:
    Path("rows").write_text("old\n")

    try:
        with checkpointed("job", store="ck") as cp:
            cp.sink("rows", existing=existing).write("new\n")  # type: ignore[call-overload]
    except InputChangedError:
        assert existing == "refuse"

    assert Path("rows").read_text() == after
