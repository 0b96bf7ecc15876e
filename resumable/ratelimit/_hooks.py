"""Hooks for clients: they pass each response to the current checkpoint, so that the program need not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from ._response import host_of_requester, seen_in

C = TypeVar("C")

_MAY_SAY_SO = frozenset({400, 403, 429, 503})
"""Statuses that may be refusals, where perhaps only the body says so, or for how long."""


def hooks(client: C, *, account: str = "") -> C:
    """Let *client* pass each response to the current checkpoint. Without a checkpoint, nothing happens.

    The hooks read the body of a GraphQL answer, and of an error that may be a refusal without a header that says so;
    requests must not stream it. PyGithub and githubkit sleep and retry within a call, which hides refusals. To show
    them, give PyGithub ``retry=None``, and githubkit ``auto_retry=False``.

    Example:
        >>> client = hooks(requests.Session())

    Args:
        client: An ``httpx.Client`` or ``AsyncClient``, ``requests.Session``, ``aiohttp.ClientSession``,
            ``github.Github`` (PyGithub) or ``githubkit.GitHub``. It is returned. Hooking it twice does no harm.
        account: A name for the token of the client, if the program has several; not the token itself. See
            ``Checkpoint.observe``.

    Raises:
        TypeError: If *client* is none of these. It is unchanged.
    """
    for root, name, install in _CLIENTS:
        # Recognized by its name, so that nothing is imported.
        if any(kind.__name__ == name and kind.__module__.split(".")[0] == root for kind in type(client).__mro__):
            install(client, account)
            return client
    supported = ", ".join(f"{root}.{name}" for root, name, _ in _CLIENTS)
    raise TypeError(f"cannot hook into {type(client).__name__!r} objects; supported: {supported}")


def observe_current(response: object, account: str = "") -> None:
    """Show *response* to the current checkpoint, if there is one."""
    from .._runtime.current import current_checkpoint_or_none

    checkpoint = current_checkpoint_or_none()
    if checkpoint is not None:
        if account:
            checkpoint.observe(response, account=account)
        else:
            checkpoint.observe(response)


def _must_read(status: int, headers: Any, url: object) -> bool:
    """Whether only the body can say that an answer is a refusal, or how long that lasts."""
    if status in _MAY_SAY_SO:
        return headers.get("Retry-After") is None
    return status == 200 and "graphql" in str(url)


@dataclasses.dataclass(frozen=True)
class _Hook:
    """Passes on each response, as one of *account*. Hooks of one kind are equal, so none is added twice."""

    account: str

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


class _HttpxHook(_Hook):
    def __call__(self, response: Any) -> None:
        if _must_read(response.status_code, response.headers, response.url):
            response.read()
        observe_current(response, self.account)


class _AsyncHttpxHook(_Hook):
    async def __call__(self, response: Any) -> None:
        if _must_read(response.status_code, response.headers, response.url):
            await response.aread()
        observe_current(response, self.account)


class _RequestsHook(_Hook):
    def __call__(self, response: Any, **how: Any) -> None:
        # Unless it streams, the session itself reads the body as soon as this is over.
        if not how.get("stream") and _must_read(response.status_code, response.headers, response.url):
            response.content  # noqa: B018
        observe_current(response, self.account)


def _hook_httpx(client: Any, account: str) -> None:
    _put(client.event_hooks, _AsyncHttpxHook(account) if hasattr(client, "aclose") else _HttpxHook(account))


def _put(event_hooks: dict[str, list[Any]], hook: _Hook) -> None:
    found = event_hooks.setdefault("response", [])
    found[:] = [*(other for other in found if other != hook), hook]


def _hook_requests(session: Any, account: str) -> None:
    # requests also takes a bare function here.
    if callable(session.hooks.get("response")):
        session.hooks["response"] = [session.hooks["response"]]
    _put(session.hooks, _RequestsHook(account))


class _AiohttpEnd(_Hook):
    async def __call__(self, session: object, context: object, params: Any) -> None:
        response = params.response
        if _must_read(response.status, response.headers, response.url):
            await response.read()
        observe_current(response, self.account)


class _AiohttpException(_Hook):
    """Passes on a refusal that ``raise_for_status`` raised, which no other hook sees."""

    async def __call__(self, session: object, context: object, params: Any) -> None:
        if getattr(params.exception, "headers", None) is not None:
            observe_current(params.exception, self.account)


def _hook_aiohttp(session: Any, account: str) -> None:
    end = _AiohttpEnd(account)
    kept = [config for config in session.trace_configs if end not in config.on_request_end]
    config = import_module("aiohttp").TraceConfig()
    config.on_request_end.append(end)
    config.on_request_redirect.append(end)
    config.on_request_exception.append(_AiohttpException(account))
    config.freeze()
    session.trace_configs[:] = [*kept, config]


def _hook_pygithub(github: Any, account: str) -> None:
    requester = github.requester
    # It is called for every response, also for those that become exceptions. A partial lets the requester pickle.
    requester.DEBUG_ON_RESPONSE = partial(_observe_pygithub, requester, account)


def _observe_pygithub(requester: Any, account: str, status: int, headers: dict[str, Any], output: str) -> None:
    type(requester).DEBUG_ON_RESPONSE(requester, status, headers, output)
    body = output.encode() if status != 200 or "rateLimit" in output or '"errors"' in output else b""
    observe_current(seen_in(status, headers, host_of_requester(requester), body), account)


def _hook_githubkit(github: Any, account: str) -> None:
    """Put the hooks into the configuration, from which githubkit makes its httpx clients when it needs them."""
    added = {
        name: _with_hook(getattr(github.config, name), hook)
        for name, hook in (("event_hooks", _HttpxHook(account)), ("async_event_hooks", _AsyncHttpxHook(account)))
        if hasattr(github.config, name)
    }
    if not added:
        raise TypeError("cannot hook into this version of githubkit; 0.16 is the first that has event hooks")
    github.config = dataclasses.replace(github.config, **added)
    for name in ("sync", "async"):
        # Within ``with github:`` there is a client already.
        opened = getattr(github, f"_GitHubCore__{name}_client", None)
        if opened is not None and (client := opened.get()) is not None:
            _hook_httpx(client, account)


def _with_hook(event_hooks: Any, hook: _Hook) -> dict[str, list[Any]]:
    copied = {name: list(found) for name, found in (event_hooks or {}).items()}
    _put(copied, hook)
    return copied


_CLIENTS: tuple[tuple[str, str, Callable[[Any, str], None]], ...] = (
    *((root, name, _hook_httpx) for root in ("httpx", "httpx2") for name in ("Client", "AsyncClient")),
    ("requests", "Session", _hook_requests),
    ("aiohttp", "ClientSession", _hook_aiohttp),
    ("github", "Github", _hook_pygithub),
    ("githubkit", "GitHub", _hook_githubkit),
)
