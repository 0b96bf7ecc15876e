"""Detects whether the input has changed, by short digests of a few items that are kept while the items pass."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from ..._json import is_plain
from ..._text import hidden
from . import values

SHOWN_LETTERS = 80
"""Characters of an item's repr that are kept, to describe a change."""

_LONGEST_SECRET = 4096
_SHORT = 10**6
"""Numbers below this are not secret."""
_STRIDE = 4096
_MANY_SAMPLES = 40
_LASTING = (str, int, float, complex, bytes, os.PathLike, type(None))


class Sample(NamedTuple):
    """One item of an input: its :func:`digest`, and its repr for people."""

    position: int
    digest: str
    shown: str

    def difference(self, item: object) -> str | None:
        """Describe how *item* differs from the sample; None if it does not."""
        if digest_at(self.position, item) == self.digest:
            return None
        shown = show(item)
        if shown == self.shown:
            return f"items[{self.position}] has changed, though it still shows as {shown}"
        return f"items[{self.position}] was {self.shown}, is {shown} now"


class Samples:
    """Samples of one input's items: those *saved* by earlier runs, and those of this run.

    Only the positions decide which ones are kept, so that memory and saved form stay small.

    Attributes:
        expected: The samples of earlier runs, by position; the items must still be equal.

    Raises:
        ValueError: *saved* is malformed.
    """

    def __init__(self, saved: Any = ()) -> None:
        self._kept: tuple[Sample, ...] = samples_from(saved) if saved != () else ()
        self.expected = {one.position: one for one in self._kept}
        self._committed = tuple(self.expected)

    def add(self, position: int, item: object) -> None:
        """Sample *item*, before the loop's body can change it."""
        samples = (*self._kept, sample(position, item))
        # One assignment of a whole tuple, because a save in another thread may read it.
        self._kept = samples if len(samples) < _MANY_SAMPLES else thinned(samples, last=8)

    def at(self, position: int) -> Sample | None:
        """The sample of the item at *position*; None if it was not sampled."""
        return next((one for one in self._kept if one.position == position), None)

    def saved(self, is_done: Callable[[int], bool], last: Sample | None = None) -> list[list[Any]]:
        """The saved form: the few samples of done items that are kept for good, and the *last* done one if given."""
        samples = thinned(one for one in self._kept if is_done(one.position))
        if last is not None and last.position not in {one.position for one in samples}:
            samples += (last,)
        return list(map(list, samples))

    def uncommitted(self, saved: list[list[Any]]) -> list[list[Any]]:
        """Those of *saved* that no commit has contained yet."""
        return [one for one in saved if one[0] not in self._committed]

    def commit(self, saved: Iterable[Sequence[Any]]) -> None:
        """*saved* is stored."""
        self._committed = (*self._committed, *(one[0] for one in saved))[-64:]


def sample(position: int, item: object) -> Sample:
    """A sample of *item*. Raises what :func:`digest_at` raises."""
    return Sample(position, digest_at(position, item), show(item))


def digest_at(position: int, item: object) -> str:
    """The digest of the item at *position*.

    Raises:
        ValuelessError: It has no comparable value. The text says what to do, once for the whole input.
    """
    try:
        return digest(item)
    except values.ValuelessError as error:
        raise values.ValuelessError(
            f"items[{position}] is or holds a {error}, which has no value that another run could compare. Give "
            "key=..., which names each item, as in key=lambda item: item.id. If the order and number of the items "
            "never change, remaining(..., fingerprint=None) compares nothing."
        ) from None


def digest(item: object) -> str:
    """16 hex digits, equal in every process for equal items.

    Made from canonical JSON if JSON can hold the item (dataclasses and dates, too); else from its content (see
    :mod:`.values`) or its repr.

    Raises:
        ValuelessError: It has no comparable value: its repr contains an address, as that of an open file does.
    """
    return sha256(canonical(item)).hexdigest()[:16]


def roll(rolled: str, digest: str) -> str:
    """The digest of a sequence, step by step: *rolled* is the digest of all items but the last, ``""`` for none."""
    return sha256(f"{rolled}{digest}".encode()).hexdigest()[:16]


def show(item: object) -> str:
    """The repr on one line of at most 80 characters, without secrets; never raises."""
    if type(item) is int and -_SHORT < item < _SHORT:
        return repr(item)
    try:
        text = values.stable_repr(item)
    except values.ValuelessError as error:
        text = f"<{error}>"
    text = hidden(" ".join(text.split())[: SHOWN_LETTERS + _LONGEST_SECRET])
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"


def is_lasting(item: object) -> bool:
    """Whether *item* is immutable, so that the loop's body cannot have changed it."""
    return isinstance(item, _LASTING) or (type(item) is tuple and all(isinstance(one, _LASTING) for one in item))


def next_sampled(position: int) -> int:
    """The first sampled position >= *position*: of 0, 1, 3, 7, … 4095, then every 4096th."""
    if position < _STRIDE:
        return (1 << position.bit_length()) - 1
    return position // _STRIDE * _STRIDE + _STRIDE - 1


def thinned(samples: Iterable[Sample], last: int = 3) -> tuple[Sample, ...]:
    """Keep few samples, sorted: those at the positions 0, 7, 63, 511, … and the *last* ones."""
    ordered = sorted(samples)
    return tuple(one for one in ordered[:-last] if _is_kept(one.position)) + tuple(ordered[-last:])


def samples_from(values: Any) -> tuple[Sample, ...]:
    """Read saved samples. Raises ValueError if *values* is not ``[[position, digest, shown], ...]``."""
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


def canonical(item: object) -> bytes:
    """The bytes to digest. Raises what :func:`digest` raises."""
    if isinstance(item, values.NAMED):
        return values.stable_repr(item).encode("utf-8", "backslashreplace")
    try:
        raw = _encoder.encode(item)
    except values.ValuelessError:
        raise
    except Exception:
        return _fallback(item)
    if (b"[[" in raw or b"[{" in raw) and _holds_nested_sets([item]):
        return _fallback(item)
    return _told_apart(item, raw) if b"null" in raw else raw


def _told_apart(item: object, raw: bytes) -> bytes:
    """*raw*, the JSON of *item*, unless it holds NaN or an infinity: JSON writes these as it writes None."""
    try:
        packed = _packer.encode(item)
    except Exception:  # an int of more than 64 bits
        return raw if is_plain(item) else _fallback(item)
    return packed if _NO_NUMBER.search(packed) else raw


def canonical_all(items: Sequence[object]) -> bytes:
    """The joined results of :func:`canonical` for *items*."""
    try:
        raw = _encoder.encode_lines(items)
    except Exception:
        return b"".join(map(canonical, items))
    if (b"[[" in raw or b"[{" in raw) and _holds_nested_sets(items):
        return b"".join(map(canonical, items))
    if b"null" in raw and _told_apart(items, raw) is not raw:
        return b"".join(map(canonical, items))
    return raw.replace(b"\n", b"")  # inside an item, JSON escapes newlines


def _holds_nested_sets(items: Sequence[object]) -> bool:
    """Their JSON has an array that begins with an array or an object, as that of such a set does."""
    return not is_plain(list(items)) and values.holds_nested_sets(items)


def _fallback(item: Any) -> bytes:
    try:
        form = values.stand_in(item)
        text = form if isinstance(form, str) else repr(form)
    except RecursionError:
        text = values.stable_repr(item)
    return text.encode("utf-8", "backslashreplace")


_encoder = msgspec.json.Encoder(enc_hook=values.stand_in, order="deterministic")
_packer = msgspec.msgpack.Encoder(enc_hook=values.stand_in, order="deterministic")
_NO_NUMBER = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""A float in msgpack with the exponent of NaN and the infinities."""
