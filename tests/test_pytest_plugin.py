"""The pytest plugin: proves by a fixture, stops what is under test by an option, and costs no import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]

LOOPS = """
    import pytest
    from resumable import resumable, every

    @resumable(operation_id="right", strategy=every(items=1))
    def right(cp):
        for number in cp.remaining(range(20)):
            cp.state["total"] = cp.state.get("total", 0) + number
        return cp.state["total"]

    @resumable(operation_id="wrong", strategy=every(items=1))
    def wrong(cp):
        total = 0
        for number in cp.remaining(range(20)):
            total += number
        return total

    @resumable(operation_id="later", strategy=every(items=1))
    async def later(cp):
        async for number in cp.remaining(range(20)):
            cp.state["total"] = cp.state.get("total", 0) + number
        return cp.state["total"]

    @resumable(operation_id="outer")
    def outer(cp):
        return right()

    @resumable(operation_id="raising")
    def raising(cp):
        raise ValueError("its own")

    @pytest.fixture(autouse=True)
    def directory(tmp_path, monkeypatch):
        monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path))
"""


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


def ran(pytester: pytest.Pytester, tests: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(pytester_source(tests))
    return pytester.runpytest_subprocess("-p", "resumable.pytest_plugin", *arguments)


def pytester_source(tests: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in (LOOPS + tests).splitlines())


@pytest.mark.slow
def test_the_fixture_proves_a_right_job(pytester: pytest.Pytester) -> None:
    tests = """
    def test_it(prove_resumable):
        assert prove_resumable(right, max_cases=10).cases == 10
    """
    ran(pytester, tests).assert_outcomes(passed=1)


@pytest.mark.slow
def test_the_failure_of_a_wrong_job_reads_well(pytester: pytest.Pytester) -> None:
    tests = """
    def test_it(prove_resumable):
        prove_resumable(wrong, max_cases=30)
    """
    result = ran(pytester, tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*the job is not resumable: * of 30 stops went wrong (chosen of *",
            "E*result diverged: *",
            "E*at *.py:*",
            "E*why: *",
        ]
    )
    assert "_prove.py" not in result.stdout.str()


@pytest.mark.slow
def test_right_functions_survive_being_stopped(pytester: pytest.Pytester) -> None:
    tests = """
    import asyncio

    def test_one():
        assert right() == 190

    def test_async():
        assert asyncio.run(later()) == 190

    def test_two_at_once():
        async def both():
            return await asyncio.gather(later(), later_too())
        later_too = resumable(operation_id="too")(later_again)
        assert asyncio.run(both()) == [190, 190]

    async def later_again(cp):
        async for number in cp.remaining(range(20)):
            cp.state["total"] = cp.state.get("total", 0) + number
        return cp.state["total"]

    def test_nested():
        assert outer() == 190
    """
    result = ran(pytester, tests, "--resumable-crash", "4")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["resumable: 3 functions were stopped, 20 times in all"])


@pytest.mark.slow
def test_a_wrong_function_fails_and_the_report_says_where_it_was_stopped(pytester: pytest.Pytester) -> None:
    tests = """
    def test_it():
        assert wrong() == 190
    """
    ran(pytester, tests).assert_outcomes(passed=1)
    result = ran(pytester, tests, "--resumable-crash", "4")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*resumable: where it was stopped*", "*wrong was killed *", "  at *.py:*", "*wrong was interrupted *"]
    )


@pytest.mark.slow
def test_a_short_loop_is_stopped_as_often(pytester: pytest.Pytester) -> None:
    tests = """
    @resumable
    def short(cp):
        for number in cp.remaining([1]):
            cp.state["n"] = number
        return cp.state["n"]

    @pytest.mark.parametrize("number", range(10))
    def test_it(number):
        assert short() == 1
    """
    result = ran(pytester, tests, "--resumable-crash", "3")
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["resumable: 1 functions were stopped, 30 times in all"])


@pytest.mark.slow
def test_the_stops_of_all_processes_are_counted(pytester: pytest.Pytester) -> None:
    tests = """
    @pytest.mark.parametrize("number", range(4))
    def test_it(number):
        assert right() == 190
    """
    result = ran(pytester, tests, "--resumable-crash", "2", "-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["resumable: 1 functions were stopped, 8 times in all"])


@pytest.mark.slow
def test_errors_of_its_own_pass_through(pytester: pytest.Pytester) -> None:
    tests = """
    def test_it():
        with pytest.raises(ValueError, match="its own"):
            raising()
    """
    ran(pytester, tests, "--resumable-crash", "3").assert_outcomes(passed=1)


@pytest.mark.parametrize("count", ["-1", "twice", "1.5", "²", ""])
def test_a_count_that_is_none_is_refused(count: str, pytester: pytest.Pytester) -> None:
    result = ran(pytester, "", f"--resumable-crash={count}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    wanted = f"--resumable-crash: N is how many times, a whole number from 0 on, not {count!r}"
    result.stderr.fnmatch_lines([f"*{wanted}"])


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, pytest, resumable.pytest_plugin; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    ours = {name for name in ran.stdout.split() if name.startswith("resumable")}
    assert "resumable.testing._prove" not in ours
    assert "resumable.testing" not in ours
