"""The library's own part of a document, and the summary beside each save."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from resumable import CheckpointMetadata
from resumable._format.sections import summary_of

pytestmark = pytest.mark.usefixtures("place")


def test_a_summary_is_small_whatever_the_reason() -> None:
    for reason in ("\x01" * 5000, "🦊" * 5000, None):
        assert len(summary_of(CheckpointMetadata(last_save_reason=reason), at=datetime.now(UTC))) <= 1024
