"""Tests, benches and fault campaigns. None of them writes to the user's state directory."""

import os

os.environ.setdefault("RESUMABLE_INDEX", "off")
