"""Checkpoints to be damaged."""

from __future__ import annotations

from tests.support.damaged import journaled, sealed, two  # noqa: F401
