"""Reads a response or an error of any client: status, headers, host, message. No client is imported.

Recognized by their shape: responses of httpx, requests, aiohttp and urllib3; githubkit's ``Response``; PyGithub's
objects and requester; gidgethub's ``RateLimit`` and clients; the errors of all of them; decoded bodies; mappings of
headers. A body is used only if it has been read already. Nothing here raises: an unknown object has no facts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ._bodies import is_error, read_graphql, read_status, read_words
from ._headers import named_resource, read_headers
from ._limits import RateLimit, succeeded
from ._refusals import is_rate_limited, read_refusal
from ._values import read_number, read_text

_MOST_HEADERS = 200
_LONGEST_MESSAGE = 500
_LONGEST_ERROR_BODY = 100_000
_LONGEST_GRAPHQL_BODY = 5_000_000
_GRAPHQL_MARKS = (b"rateLimit", b"throttleStatus")
"""One of them stands in each body that tells of a quota; in one of a refusal with a good status stands:"""
_ERROR_MARK = b'"error'
_BODY_NAMES = ("data", "errors", "error", "parameters")
_LET_PASS = frozenset({404, 410})
_DEEPEST = 5
_OWN_PORTS = {"http": (80,), "https": (443,), "": (80, 443)}


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts of a response; None or an empty value if unknown.

    Attributes:
        message: The message of an error; "" if its body has not been read.
        from_cache: Whether it came from a cache of this program.
        is_old: Whether the numbers in its headers are old, because it came from a cache.
        body: Its decoded body, if that may be about a quota or a refusal.
        told: Quotas that it holds as objects, besides headers and body.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    message: str = ""
    from_cache: bool = False
    is_old: bool = False
    body: Any = None
    told: tuple[RateLimit, ...] = ()

    @property
    def is_rate_limited(self) -> bool:
        """Whether this is a refusal for a rate limit."""
        return not self.from_cache and is_rate_limited(self.status, self.headers, self.message, self.body)

    def limits(self, now: float) -> list[RateLimit]:
        """The quotas in it; *now* is epoch seconds on our clock."""
        if self.from_cache or self.is_old:
            return []
        limits = [*self.told, *read_headers(self.headers, now=now)]
        # Headers about this quota are better, because their clock can be corrected.
        if not limits and (limit := read_graphql(self.body, now=now)):
            limits = [limit]
        return [replace(limit, host=limit.host or self.host) for limit in limits]

    def refusal(self, now: float) -> RateLimit | None:
        """How long it refuses; None if it is not a refusal, or lasts until the first of its quotas is fresh."""
        if not self.is_rate_limited:
            return None
        refusal = read_refusal(self.headers, self.body, self.limits(now), now=now)
        return None if refusal is None else replace(refusal, host=self.host)

    def tells(self, now: float) -> list[RateLimit]:
        """Everything that a budget should learn: the quotas, and a refusal or a success."""
        limits = self.limits(now)
        if self.is_rate_limited:
            refusal = self.refusal(now)
            return limits if refusal is None else [refusal, *limits]
        if not self._has_passed(limits):
            return limits
        resources = {"", named_resource(limits)}
        return [*(replace(succeeded(resource), host=self.host) for resource in sorted(resources)), *limits]

    def _has_passed(self, limits: list[RateLimit]) -> bool:
        """Whether the server accepted the request."""
        if self.from_cache or self.is_old:
            return False
        if self.status is None:
            return any(limit.remaining for limit in limits) and not self.told
        return self.status < 400 or self.status in _LET_PASS


def read_response(source: object) -> Seen:
    """The facts in *source*: a response, an error, an object of a client, a decoded body, or a mapping of headers."""
    for candidate in _candidates(source):
        for read in (_read_mapping, _read_limit_object, _read_pygithub, _read_answer, _read_words):
            # Any object may come here, even one that cannot be true or false, such as a data frame.
            with suppress(Exception):
                seen = read(candidate)
                if seen is not None:
                    return seen
    return Seen()


def seen_in(status: int, headers: Mapping[str, Any], host: str, body: bytes) -> Seen:
    """The facts of an answer from its parts; *body* may be empty."""
    if status >= 400:
        decoded = _decoded(body) if len(body) <= _LONGEST_ERROR_BODY else None
        message = read_words(decoded) or body[:_LONGEST_MESSAGE].decode("utf-8", "replace")
        return Seen(status, headers, host, message, body=decoded)
    return Seen(status, headers, host, body=_decoded(body) if may_tell(body) else None)


def may_tell(body: bytes) -> bool:
    """Whether the *body* of an answer with a good status may be about a quota or a refusal."""
    return may_refuse(body) or (len(body) <= _LONGEST_GRAPHQL_BODY and any(mark in body for mark in _GRAPHQL_MARKS))


def may_refuse(body: bytes) -> bool:
    """Whether the *body* of an answer with a good status may be a refusal, which is short."""
    return len(body) <= _LONGEST_ERROR_BODY and _ERROR_MARK in body


def _candidates(source: object) -> Iterator[object]:
    """What *source* wraps, *source* itself, and the errors behind it; the most informative first."""
    for _ in range(_DEEPEST):
        response = _get(source, "response") if isinstance(source, BaseException) else source
        yield from (_get(response, "raw_response"), response, source)
        if (source := _get(source, "__cause__")) is None:
            return


def _read_mapping(source: object) -> Seen | None:
    """Headers, or a decoded body."""
    if isinstance(source, Seen):
        return source
    if (
        isinstance(source, list) and len(source) == 1 and isinstance(source[0], Mapping)
    ):  # more entries are rows of data
        return Seen(body=source)
    if not isinstance(source, Mapping):
        return None
    if is_error(source):
        return Seen(read_status(source), message=read_words(source), body=source)
    if any(isinstance(source.get(name), Mapping | list) for name in _BODY_NAMES):
        return Seen(read_status(source), body=source)
    return Seen(headers=source) if 0 < len(source) <= _MOST_HEADERS else None


def _read_limit_object(source: object) -> Seen | None:
    """gidgethub's ``RateLimit`` and the clients that hold one, PyGithub's ``Rate``, our own ``RateLimit``."""
    if isinstance(source, BaseException):
        return None
    told = _limit_objects(source) or _limit_objects(_get(source, "rate_limit"))
    return Seen(told=told) if told else None


def _limit_objects(source: object) -> tuple[RateLimit, ...]:
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
    host, pair = host_of_requester(requester), _get(requester, "rate_limiting")
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
    if is_error:
        seen = Seen(status, headers, message=_error_message(source), body=_error_body(source))
        seen = replace(seen, told=_limit_objects(_get(source, "rate_limit")))
    else:
        # If the body has not been read, its public names would read from the network, or raise.
        bodies = (_get(source, name) for name in ("_content", "_body"))
        seen = seen_in(status or 200, headers, "", next((body for body in bodies if isinstance(body, bytes)), b""))
    from_cache, is_old = _from_cache(source, headers)
    return replace(seen, status=status, host=_host(source), from_cache=from_cache, is_old=is_old)


def _read_words(source: object) -> Seen | None:
    """An error without a response whose name is about rate limits, or that repeats a GraphQL answer."""
    if not isinstance(source, BaseException):
        return None
    if "ratelimit" in type(source).__name__.lower():
        return Seen(message=f"rate limit: {_error_message(source)}")
    body = _error_body(source)
    return None if body is None else Seen(message=_error_message(source), body=body)


def _status(source: object) -> int | None:
    values = (_get(source, name) for name in ("status_code", "status", "code"))
    return next((int(value) for value in values if _is_int(value) and 100 <= value <= 599), None)


def _error_body(error: object) -> Any:
    """The decoded body that an error repeats: PyGithub's ``data``, gidgethub's ``response``, gql's ``errors``."""
    for body in (_get(error, "data"), _get(error, "response")):
        if isinstance(body, Mapping):
            return body
    errors = _get(error, "errors") or _get(_get(error, "response"), "errors")
    return {"errors": errors} if isinstance(errors, list) else None


def _error_message(error: object) -> str:
    """The words in PyGithub's ``data``, aiohttp's ``message``, or a GraphQL error; else the error's text."""
    answer = _get(error, "response")
    sources = (_get(error, "data"), _get(error, "message"), answer, _get(answer, "errors"))
    return next(filter(None, map(read_words, sources)), "") or str(error)[:_LONGEST_MESSAGE]


def _decoded(body: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def _host(source: object) -> str:
    request = _get(source, "request_info")
    url = _get(source, "url") or _get(request, "real_url") or _get(source, "_request_url")
    return host_of(str(url or ""))


def host_of_requester(requester: object) -> str:
    """The host of PyGithub's requester."""
    return host_of(read_text(_get(requester, "base_url"))) or read_text(_get(requester, "hostname"))


def host_named(name: str) -> str:
    """The host in *name*, which is a host, a host with a port, or a URL.

    Raises:
        TypeError: It is neither text nor a client's URL object.
    """
    if not isinstance(name, str):
        if not hasattr(name, "host"):  # httpx and yarl have objects for URLs
            raise TypeError(f"host must be the name of a server, or a URL; not {name!r:.80}")
        name = str(name)
    return host_of(name if "/" in name else f"//{name}")


def host_of(url: str) -> str:
    """The host of *url*, with its port unless that is the scheme's own; "" if there is none."""
    with suppress(Exception):
        parts = urlsplit(url)
        host = "".join(filter(str.isprintable, parts.hostname or ""))
        if parts.port is None or parts.port in _OWN_PORTS.get(parts.scheme, ()):
            return host
        return f"[{host}]:{parts.port}" if ":" in host else f"{host}:{parts.port}"
    return ""


def _from_cache(source: object, headers: Any) -> tuple[bool, bool]:
    """Whether requests-cache, cachecontrol or hishel gave the answer; and whether any cache did, by its ``Age``."""
    extensions = _get(source, "extensions")
    if _get_item(extensions, "hishel_revalidated") is True:
        return False, False
    age = _get_item(headers, "age") or _get_item(headers, "Age")
    is_here = _get(source, "from_cache") is True or _get_item(extensions, "hishel_from_cache") is True
    return is_here, is_here or (read_number(read_text(age)) or 0) > 0


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _get(source: object, name: str, default: Any = None) -> Any:
    """An attribute, or *default*, also if reading it raises, as properties of half-read responses do."""
    try:
        return getattr(source, name, default)
    except Exception:
        return default


def _get_item(source: object, name: str) -> Any:
    """An entry of a mapping, or an attribute of an object that stands for one."""
    return source.get(name) if isinstance(source, Mapping) else _get(source, name)
