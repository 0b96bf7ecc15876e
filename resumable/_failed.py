"""The items of maps that were given up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Key = str | int


class Failed:
    """The items that were given up, by loop and key, each with the text of its error. Plain JSON when saved.

    Args:
        saved: What :meth:`to_dict` gave in an earlier run.
    """

    def __init__(self, saved: Mapping[str, Iterable[tuple[Key, str]]] | None = None) -> None:
        self._lock = threading.RLock()  # a signal handler that saves may come in between
        self._by_loop: dict[str, dict[Key, str]] = {name: dict(pairs) for name, pairs in (saved or {}).items()}

    def __len__(self) -> int:
        return sum(map(len, self._by_loop.values()))

    def of(self, loop: str) -> Mapping[Key, str]:
        """Those of one loop, as they come and go."""
        return self._by_loop.setdefault(loop, {})

    def all(self) -> dict[Key, str]:
        """Those of all loops; a key that several loops have is given as ``loop/key``."""
        with self._lock:
            loops = Counter(key for failures in self._by_loop.values() for key in failures)
            return {
                key if loops[key] == 1 else f"{name}/{key}": text
                for name, failures in self._by_loop.items()
                for key, text in failures.items()
            }

    def add(self, loop: str, key: Key, text: str) -> None:
        with self._lock:
            self._by_loop.setdefault(loop, {})[key] = text

    def discard(self, loop: str, key: Key) -> None:
        with self._lock:
            self._by_loop.get(loop, {}).pop(key, None)

    def to_dict(self) -> dict[str, list[list[Any]]]:
        with self._lock:
            return {name: list(map(list, pairs.items())) for name, pairs in self._by_loop.items() if pairs}


def error_text(error: BaseException) -> str:
    """``ValueError: what it says``, on one line of at most 500 letters; never raises."""
    try:
        text = " ".join(f"{type(error).__name__}: {error}".split())
    except Exception:
        text = type(error).__name__
    return text[:500].encode("utf-8", "replace").decode()
