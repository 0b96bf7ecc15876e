"""What an answer or an error of any client shows: status, headers, host, words. No client is imported.

Known by their shape: responses of httpx, requests, aiohttp and urllib3; githubkit's ``Response``; PyGithub's objects
and requester; gidgethub's ``RateLimit`` and clients; the errors of all of them; decoded GraphQL answers; mappings of
headers. A body is looked at only if it has been read already. Nothing here raises: an unknown object shows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ._headers import RateLimit, is_rate_limited, read_graphql, read_headers
from ._values import read_number, read_text

_MOST_HEADERS = 200
_LONGEST_MESSAGE = 500
_LONGEST_ERROR_BODY = 100_000
_LONGEST_GRAPHQL_BODY = 5_000_000
_GRAPHQL_MARKS = (b"rateLimit", b"RATE_LIMIT")
_DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer shows; None or an empty value where that is unknown.

    Attributes:
        message: The error's own words; "" if the body has not been read.
        from_cache: Whether the answer came from a cache; then the numbers in its headers are old.
        graphql: Its ``data``, if it is a GraphQL answer that may tell of the quota.
        told: Quotas that it holds as objects, besides headers and body.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    message: str = ""
    from_cache: bool = False
    graphql: Any = None
    told: tuple[RateLimit, ...] = ()

    @property
    def is_rate_limited(self) -> bool:
        """Whether this is a refusal for a rate limit."""
        return is_rate_limited(self.status, self.headers, self.message)

    def limits(self, now: float) -> list[RateLimit]:
        """The quotas that it tells of; *now* is epoch seconds on our clock."""
        if self.from_cache:
            return []
        limits = [*self.told, *read_headers(self.headers, status=self.status, now=now)]
        # Headers that tell of this quota are better: their clock can be corrected.
        if not limits and (limit := read_graphql(self.graphql, now=now)):
            limits = [limit]
        return [replace(limit, host=limit.host or self.host) for limit in limits]


def read_response(source: object) -> Seen:
    """What *source* shows: a response, an error, an object of a client, or a mapping of headers."""
    for candidate in _candidates(source):
        for read in (_read_mapping, _read_limit_object, _read_pygithub, _read_answer, _read_words):
            # Any object may come here, with attributes of any kind: a data frame refuses to be true or false.
            with suppress(Exception):
                seen = read(candidate)
                if seen is not None:
                    return seen
    return Seen()


def read_message(body: bytes) -> str:
    """The error's own words in *body*: those in its JSON, else its beginning."""
    decoded = _decoded(body) if len(body) <= _LONGEST_ERROR_BODY else None
    return _message(decoded) or body[:_LONGEST_MESSAGE].decode("utf-8", "replace")


def _candidates(source: object) -> Iterator[object]:
    """What *source* wraps, *source* itself, and the errors that it was raised from. The most telling come first."""
    for _ in range(_DEEPEST):
        response = _get(source, "response") if isinstance(source, BaseException) else source
        yield from (_get(response, "raw_response"), response, source)
        if (source := _get(source, "__cause__")) is None:
            return


def _read_mapping(source: object) -> Seen | None:
    """Headers, or a decoded GraphQL answer."""
    if isinstance(source, Seen):
        return source
    if not isinstance(source, Mapping):
        return None
    if isinstance(source.get("data"), Mapping) or isinstance(source.get("errors"), list):
        return _with_graphql(Seen(), source)
    return Seen(headers=source) if 0 < len(source) <= _MOST_HEADERS else None


def _read_limit_object(source: object) -> Seen | None:
    """gidgethub's ``RateLimit`` and the clients that hold one, PyGithub's ``Rate``, our own ``RateLimit``."""
    if isinstance(source, BaseException):
        return None
    told = _told(source) or _told(_get(source, "rate_limit"))
    return Seen(told=told) if told else None


def _told(source: object) -> tuple[RateLimit, ...]:
    if isinstance(source, RateLimit):
        return (source,)
    remaining, limit = _get(source, "remaining"), _get(source, "limit")
    reset = _get(source, "reset_datetime") or _get(source, "reset")
    if not (_is_int(remaining) and _is_int(limit) and isinstance(reset, datetime)):
        return ()
    return (RateLimit("", limit, remaining, reset.timestamp()),)


def _read_pygithub(source: object) -> Seen | None:
    """PyGithub's objects keep the headers they came with. Their public attributes would ask the server."""
    requester = _get(source, "_requester") or _get(source, "requester") or source
    host, pair = read_text(_get(requester, "hostname")), _get(requester, "rate_limiting")
    if not (isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_int, pair))):
        return None
    if isinstance(headers := _get(source, "_headers"), Mapping):
        return Seen(200, headers, host)
    remaining, limit = pair
    reset = _get(requester, "rate_limiting_resettime") or None
    return Seen(host=host, told=(RateLimit("", limit, remaining, reset),) if limit >= 0 else ())


def _read_answer(source: object) -> Seen | None:
    """A response with a status and headers, or an error that has both."""
    headers, status, is_error = _get(source, "headers"), _status(source), isinstance(source, BaseException)
    if not callable(_get(headers, "items")):
        if not is_error or status is None:
            return None
        headers = {}
    seen = Seen(status, headers, _host(source), from_cache=_is_from_cache(source, headers))
    if is_error:
        return replace(seen, message=_error_message(source), told=_told(_get(source, "rate_limit")))
    # The public names of a body that has not been read would read from the network, or raise.
    bodies = (_get(source, name) for name in ("_content", "_body"))
    body = next((body for body in bodies if isinstance(body, bytes)), b"")
    if status is not None and status >= 400:
        return replace(seen, message=read_message(body))
    if len(body) <= _LONGEST_GRAPHQL_BODY and any(mark in body for mark in _GRAPHQL_MARKS):
        return _with_graphql(seen, _decoded(body))
    return seen


def _read_words(source: object) -> Seen | None:
    """An error without a response whose name is about rate limits, or that repeats a GraphQL answer."""
    if not isinstance(source, BaseException):
        return None
    if "ratelimit" in type(source).__name__.lower():
        return Seen(message=f"rate limit: {_error_message(source)}")
    return Seen(message=_error_message(source)) if _get_item(_get(source, "response"), "errors") else None


def _status(source: object) -> int | None:
    values = (_get(source, name) for name in ("status_code", "status", "code"))
    return next((int(value) for value in values if _is_int(value) and 100 <= value <= 599), None)


def _with_graphql(seen: Seen, body: Any) -> Seen:
    """*seen* with what a GraphQL answer says. A used-up quota is an error of type ``RATE_LIMIT…`` with status 200."""
    errors = _get_item(body, "errors")
    types = [read_text(_get_item(error, "type")) for error in errors] if isinstance(errors, list) else []
    is_refused = any(kind.startswith("RATE_LIMIT") for kind in types)
    return replace(seen, message="rate limit" if is_refused else "", graphql=_get_item(body, "data"))


def _error_message(error: object) -> str:
    """The words in PyGithub's ``data``, aiohttp's ``message``, or a GraphQL error; else the error's text."""
    answer = _get(error, "response")
    sources = (_get(error, "data"), _get(error, "message"), answer, _get(answer, "errors"))
    return next(filter(None, map(_message, sources)), "") or str(error)[:_LONGEST_MESSAGE]


def _message(source: Any) -> str:
    """The words in an error's body, wherever an API puts them."""
    if isinstance(source, str):
        return source[:_LONGEST_MESSAGE]
    if isinstance(source, list | tuple):
        return _message(source[0]) if source else ""
    if not isinstance(source, Mapping) and _get(source, "message") is None:
        return ""
    parts = (_get_item(source, name) for name in ("type", "code", "title", "message", "error", "errors"))
    return " ".join(filter(None, map(_message, parts)))[:_LONGEST_MESSAGE]


def _decoded(body: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def _host(source: object) -> str:
    request = _get(source, "request_info")
    url = _get(source, "url") or _get(request, "real_url") or _get(source, "_request_url")
    with suppress(Exception):
        return "".join(filter(str.isprintable, urlsplit(str(url or "")).hostname or ""))
    return ""


def _is_from_cache(source: object, headers: Any) -> bool:
    """Whether requests-cache, cachecontrol, hishel or any cache that tells the ``Age`` (RFC 9111) gave the answer."""
    extensions = _get(source, "extensions")
    if _get_item(extensions, "hishel_revalidated") is True:
        return False
    if _get(source, "from_cache") is True or _get_item(extensions, "hishel_from_cache") is True:
        return True
    age = _get_item(headers, "age") or _get_item(headers, "Age")
    return (read_number(read_text(age)) or 0) > 0


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _get(source: object, name: str, default: Any = None) -> Any:
    """An attribute, or *default*, also where reading it raises: properties of half-read responses do."""
    try:
        return getattr(source, name, default)
    except Exception:
        return default


def _get_item(source: object, name: str) -> Any:
    """An entry of a mapping, or an attribute of an object that stands for one."""
    return source.get(name) if isinstance(source, Mapping) else _get(source, name)
