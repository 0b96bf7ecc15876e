"""Is this still the same input? Short digests of a few items, taken as the items pass."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

SHOWN_LETTERS = 80
"""How much of an item's repr is kept, to say what changed."""

_STRIDE = 4096
_LASTING = (str, int, float, complex, bytes, os.PathLike, type(None))


class Sample(NamedTuple):
    """What is remembered of one item.

    Attributes:
        position: Its index in the input, from 0.
        digest: As :func:`digest` gives it.
        shown: Its repr, shortened, for people.
    """

    position: int
    digest: str
    shown: str

    def difference(self, item: object) -> str | None:
        """What is different in *item*, for a person; None if it is the same."""
        if digest(item) == self.digest:
            return None
        shown = show(item)
        if shown == self.shown:
            return f"items[{self.position}] is not what it was, though it still looks like {shown}"
        return f"items[{self.position}] was {self.shown}, is {shown} now"


def sample(position: int, item: object) -> Sample:
    return Sample(position, digest(item), show(item))


def digest(item: object) -> str:
    """16 hex digits, equal in every process for equal items; never raises.

    Over the canonical JSON of what JSON can hold (dataclasses and dates, too), else over the repr. Of an object
    whose repr only gives its address nothing but the type counts.
    """
    return sha256(_canonical(item)).hexdigest()[:16]


def roll(rolled: str, digest: str) -> str:
    """The digest of a sequence, from that of all items but the last and the *digest* of the last. "" begins."""
    return sha256(f"{rolled}{digest}".encode()).hexdigest()[:16]


def show(item: object) -> str:
    """The repr on one line of at most 80 letters; never raises."""
    text = " ".join(_stable_repr(item).split())
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"


def is_lasting(item: object) -> bool:
    """Whether the loop's body cannot have changed *item* in place."""
    return isinstance(item, _LASTING)


def next_sampled(position: int) -> int:
    """The first position >= *position* that is sampled: 0, 1, 3, 7, … 4095, then every 4096th."""
    if position < _STRIDE:
        return (1 << position.bit_length()) - 1
    return position // _STRIDE * _STRIDE + _STRIDE - 1


def thinned(samples: Iterable[Sample], last: int = 3) -> tuple[Sample, ...]:
    """The few that are kept, by position: 0, 7, 63, 511, … and the *last* ones."""
    ordered = sorted(samples)
    return tuple(one for one in ordered[:-last] if _is_kept(one.position)) + tuple(ordered[-last:])


def samples_from(values: Any) -> tuple[Sample, ...]:
    """Read saved samples.

    Raises:
        ValueError: If *values* is not ``[[position, digest, shown], ...]``.
    """
    try:
        samples = msgspec.convert(values, tuple[Sample, ...])
    except msgspec.ValidationError as error:
        raise ValueError(f"saved samples are malformed: {error}") from error
    if any(one.position < 0 for one in samples):
        raise ValueError("saved samples are malformed: a position is negative")
    return samples


def _is_kept(position: int) -> bool:
    bits = position + 1
    return bits.bit_count() == 1 and bits.bit_length() % 3 == 1


def _canonical(item: object) -> bytes:
    try:
        return _encoder.encode(item)
    except Exception:
        return _stable_repr(item).encode("utf-8", "backslashreplace")


def _plain(item: object) -> str:
    """What stands for a part that JSON cannot hold."""
    return str(item) if isinstance(item, os.PathLike) else _stable_repr(item)


def _stable_repr(item: object) -> str:
    """The repr, or the type's name where the repr would not be the same in another process."""
    name = f"<{type(item).__module__}.{type(item).__qualname__}>"
    if isinstance(item, (set, frozenset)):
        return _set_repr(item)
    try:
        text = repr(item)
    except Exception:
        return name
    return name if " at 0x" in text else text


def _set_repr(items: Iterable[object]) -> str:
    # Text hashes differently in every process, and so a set's order does.
    return "{" + ", ".join(sorted(map(_stable_repr, items))) + "}"


_encoder = msgspec.json.Encoder(enc_hook=_plain, order="deterministic")
