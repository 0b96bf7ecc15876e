"""The names under which a known host states its quotas, so that a few look-ups read its next answer.

The first answer of a host is read in full. The next one is compared with it: if it has no new header, and differs only
in how much is left, then this number is all there is to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ._budget import SAME_WINDOW_SECONDS, Bucket
from ._headers import PREFIXES, SUFFIXED, is_wanted
from ._limits import RateLimit
from ._response import Seen, may_refuse, may_tell
from ._values import read_after, read_limit, read_text

_MOST_NAMES, _MOST_LINES = 500, 64
_IDLE_NAMES = frozenset({"date"})
"""Headers that matter only for a full reading."""
_NEVER = frozenset({"age"})
_NEVER_KNOWN = (BaseException, Mapping, RateLimit)
_LONGEST_DISTANCE = 8
"""The most digits of a distance in seconds; a longer number is an epoch."""


class Parts(NamedTuple):
    """The parts of an answer that are read.

    Attributes:
        place: The host, as this kind of answer spells it.
        fields: The headers by name.
        raw: All headers in order; *fields* has a repeated one only once.
        body: The body, if it has been read.
    """

    place: Any
    status: int
    fields: Mapping[Any, Any]
    raw: Collection[tuple[Any, Any]] | None
    body: Any


class _Line:
    """One quota, with the texts of its numbers; *reset* is None if that is a distance."""

    __slots__ = ("bucket", "limit", "reset")

    def __init__(self, bucket: Bucket, limit: Any, reset: Any) -> None:
        self.bucket = bucket
        self.limit = limit
        self.reset = reset if _is_fixed(read_text(reset), bucket.reset_at) else None


class _Row:
    """The names of one quota's headers, as the host spells them."""

    __slots__ = ("limit", "lines", "remaining", "reset", "resource", "resource_text")

    def __init__(self, names: Mapping[str, Any], prefix: str, suffix: str = "") -> None:
        self.remaining, self.limit = names[f"{prefix}-remaining{suffix}"], names[f"{prefix}-limit{suffix}"]
        self.reset = names.get(f"{prefix}-reset-after") or names[f"{prefix}-reset{suffix}"]
        self.resource = None
        if not suffix:
            told = (names.get(f"{prefix}-{name}") for name in ("resource", "bucket", "name"))
            self.resource = next(filter(None, told), None)
        self.resource_text = suffix.removeprefix("-")
        self.lines: dict[Any, _Line] = {}

    def learn(self, fields: Mapping[Any, Any], buckets: Mapping[str, Bucket]) -> bool:
        """Note the quota in *fields*. Returns whether its numbers can be compared."""
        named = fields.get(self.resource) if self.resource is not None else None
        bucket = buckets.get(self.resource_text if named is None else read_text(named))
        limit, reset = fields.get(self.limit), fields.get(self.reset)
        if bucket is None or limit is None or reset is None or read_limit(read_text(limit)) != bucket.told.limit:
            return False
        if bucket.told.reset_at is None or len(self.lines) >= _MOST_LINES:
            return False
        self.lines[named] = _Line(bucket, limit, reset)
        return True


class KnownHost:
    """What one account has learned about one host."""

    def __init__(self) -> None:
        self._names: set[Any] = set()
        self._telling: set[Any] = set()
        self._rows: list[_Row] = []

    def quick(self, parts: Parts, now: float, line: float) -> bool | None:
        """Learn from an answer with a few look-ups.

        Returns:
            Whether the caller must act, because nothing or at most the share *line* is left; None if the answer must be
            read in full.
        """
        try:
            return self._quick(parts, now, line)
        except Exception:  # the values of an unknown object may be anything
            return None

    def _quick(self, parts: Parts, now: float, line: float) -> bool | None:
        fields, body = parts.fields, parts.body
        if parts.status >= 400 or not self._names.issuperset(fields):
            return None
        if type(body) is bytes and (may_refuse(body) if self._rows else may_tell(body)):
            return None
        if parts.raw is not None and len(parts.raw) != len(fields) and self._tells_twice(parts.raw):
            return None
        is_crossed = False
        for row in self._rows:
            text = fields.get(row.remaining)
            if text is None:
                if fields.get(row.limit) is not None:
                    return None
                continue
            known = row.lines.get(fields.get(row.resource) if row.resource is not None else None)
            if known is None or fields.get(row.limit) != known.limit or not text.isdigit():
                return None
            bucket, reset = known.bucket, fields.get(row.reset)
            if bucket.reset_at <= now or (reset != known.reset and not _is_near(reset, bucket.reset_at - now)):
                return None
            is_crossed |= bucket.lower(int(text), line)
        return is_crossed

    def _tells_twice(self, raw: Iterable[tuple[Any, Any]]) -> bool:
        names = [name for name, _ in raw if name in self._telling]
        return len(names) != len(set(names))

    def learn(self, parts: Parts, buckets: Mapping[str, Bucket]) -> None:
        """Note the names in an answer that was read in full, if a few look-ups are enough for the next one.

        Args:
            buckets: The quotas in it, by resource.
        """
        if len(self._names) > _MOST_NAMES:
            self.__init__()  # type: ignore[misc]
        names = {read_text(name).lower(): name for name in parts.fields}
        telling = {name for name in names if is_wanted(name) and name not in _IDLE_NAMES}
        covered: set[str] = set()
        with suppress(Exception):  # the names and values of an unknown object may be anything
            covered = self._learn_rows(names, telling, parts.fields, buckets)
        self._telling |= {names[name] for name in covered}
        self._names |= {spelled for name, spelled in names.items() if name not in (telling - covered) | _NEVER}

    def _learn_rows(
        self, names: Mapping[str, Any], telling: set[str], fields: Mapping[Any, Any], buckets: Mapping[str, Bucket]
    ) -> set[str]:
        """The names of all rows; none if other headers say something, too."""
        rows: list[_Row] = []
        covered: set[str] = set()
        for prefix in PREFIXES:
            if f"{prefix}-remaining" in names:
                rows.append(_Row(names, prefix))
                kinds = ("limit", "remaining", "used", "observed", "reset", "reset-after", "resettime")
                covered |= {f"{prefix}-{kind}" for kind in (*kinds, "resource", "bucket", "name")} & telling
        for name in telling:
            if (match := SUFFIXED.fullmatch(name)) and match["number"] == "remaining":
                rows.append(_Row(names, "x-ratelimit", f"-{match['resource']}"))
                covered |= {f"x-ratelimit-{kind}-{match['resource']}" for kind in ("limit", "remaining", "reset")}
        if covered < telling or not rows:
            return set()
        known: dict[Any, _Row] = {row.remaining: row for row in self._rows}
        rows = [known.get(row.remaining, row) for row in rows]
        learned = [row.learn(fields, buckets) for row in rows]
        if not all(learned):
            return set()
        self._rows = list((known | {row.remaining: row for row in rows}).values())
        return covered & telling


def _is_fixed(reset: str, reset_at: float) -> bool:
    """Whether the text *reset* means a fixed time, not a distance."""
    then, earlier = read_after(reset, now=reset_at), read_after(reset, now=reset_at - 10)
    return then is not None and earlier is not None and earlier > then


def _is_near(reset: Any, distance: float) -> bool:
    """Whether *reset* is a distance in seconds, and about that far."""
    if reset is None or len(reset) > _LONGEST_DISTANCE or not reset.isdigit():
        return False
    return abs(int(reset) - distance) <= SAME_WINDOW_SECONDS


# -- the parts of an answer


def parts_of(response: Any) -> Parts | None:
    """The parts of *response*; None if it must be read in full, or comes from a cache."""
    try:
        response = getattr(response, "raw_response", response)
        read = _READERS.get(type(response))
        if read is not None:
            with suppress(Exception):
                return read(response)
        if len(_READERS) > _MOST_LINES:
            _READERS.clear()
        read = _reader_for(response)
        if read is not _of_nothing or isinstance(response, _NEVER_KNOWN):
            _READERS[type(response)] = read  # another response of this class may have what this one lacks
        return read(response)
    except Exception:  # the attributes of an unknown object may be anything
        return None


def _reader_for(response: Any) -> Callable[[Any], Parts | None]:
    if isinstance(response, Seen):
        return _of_seen
    if isinstance(response, _NEVER_KNOWN) or not hasattr(response, "headers"):
        return _of_nothing
    if isinstance(getattr(response.headers, "raw", None), list):
        return _of_httpx
    if isinstance(getattr(response, "status_code", None), int) and isinstance(response.url, str):
        return _of_requests
    if isinstance(getattr(response, "status", None), int) and hasattr(getattr(response, "url", None), "authority"):
        return _of_aiohttp
    return _of_nothing


def _of_nothing(response: Any) -> None:
    return None


def _of_seen(seen: Seen) -> Parts | None:
    if seen.from_cache or seen.is_old or seen.told or seen.body is not None or seen.status is None:
        return None
    return Parts(seen.host, seen.status, seen.headers, None, None)


def _of_httpx(response: Any) -> Parts | None:
    if "hishel_from_cache" in response.extensions or getattr(response, "from_cache", False):
        return None
    raw = response.headers.raw
    return Parts(response.url.netloc, response.status_code, dict(raw), raw, getattr(response, "_content", None))


def _of_requests(response: Any) -> Parts | None:
    if getattr(response, "from_cache", False):
        return None
    place = response.url.split("/", 3)[2]
    return Parts(place, response.status_code, response.headers, None, getattr(response, "_content", None))


def _of_aiohttp(response: Any) -> Parts | None:
    if getattr(response, "from_cache", False):
        return None
    headers = response.headers
    fields, raw = dict(headers), headers.items()
    return Parts(response.url.authority, response.status, fields, raw, getattr(response, "_body", None))


_READERS: dict[type, Callable[[Any], Parts | None]] = {}
