"""Which process this is."""

from __future__ import annotations

import os

import pytest

from resumable._runtime import processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_pid_of_its_own() -> None:
    child = os.fork()
    if not child:
        os._exit(0 if processes.pid == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert processes.pid == os.getpid() != child
