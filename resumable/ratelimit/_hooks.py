"""Hooks with which a client shows each response to the current checkpoint, so that users need not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from ._response import Seen, read_message

C = TypeVar("C")


def hooks(client: C) -> C:
    """Let *client* show each of its responses to the current checkpoint; without one, nothing happens.

    PyGithub and githubkit sleep and retry within a call, and hide that and the refusals. To have both seen, give
    PyGithub ``retry=None``, and githubkit ``auto_retry=False``.

    Args:
        client: An ``httpx.Client`` or ``AsyncClient``, ``requests.Session``, ``aiohttp.ClientSession``,
            ``github.Github`` (PyGithub) or ``githubkit.GitHub``. It is returned. Hooking one twice does no harm.

    Raises:
        TypeError: If *client* is none of these. It is unchanged.
    """
    for root, name, install in _CLIENTS:
        # Known by its name: nothing is imported.
        if any(kind.__name__ == name and kind.__module__.split(".")[0] == root for kind in type(client).__mro__):
            install(client)
            return client
    supported = ", ".join(f"{root}.{name}" for root, name, _ in _CLIENTS)
    raise TypeError(f"cannot hook into {type(client).__name__!r} objects; supported: {supported}")


def observe_current(response: object, *args: object, **kwargs: object) -> None:
    """Show *response* to the current checkpoint, if there is one. What else requests passes does not matter."""
    from .._runtime.current import current_checkpoint_or_none

    if (checkpoint := current_checkpoint_or_none()) is not None:
        checkpoint.observe(response)


async def _observe_current_async(response: object) -> None:
    observe_current(response)


def _hook_httpx(client: Any) -> None:
    _add(client.event_hooks, _observe_current_async if hasattr(client, "aclose") else observe_current)


def _add(event_hooks: dict[str, list[Any]], hook: Callable[..., Any]) -> None:
    if hook not in (found := event_hooks.setdefault("response", [])):
        found.append(hook)


def _hook_requests(session: Any) -> None:
    # requests also takes a bare function here.
    if callable(session.hooks.get("response")):
        session.hooks["response"] = [session.hooks["response"]]
    _add(session.hooks, observe_current)


def _hook_aiohttp(session: Any) -> None:
    if any(_observe_end in config.on_request_end for config in session.trace_configs):
        return
    config = import_module("aiohttp").TraceConfig()
    config.on_request_end.append(_observe_end)
    config.on_request_redirect.append(_observe_end)
    config.on_request_exception.append(_observe_exception)
    config.freeze()
    session.trace_configs.append(config)


async def _observe_end(session: object, context: object, params: Any) -> None:
    observe_current(params.response)


async def _observe_exception(session: object, context: object, params: Any) -> None:
    """Show a refusal that ``raise_for_status`` raised: no other hook sees it."""
    if getattr(params.exception, "headers", None) is not None:
        observe_current(params.exception)


def _hook_pygithub(github: Any) -> None:
    requester = github.requester
    # It is called for every response, also for those that become exceptions. A partial lets the requester pickle.
    requester.DEBUG_ON_RESPONSE = partial(_observe_pygithub, requester)


def _observe_pygithub(requester: Any, status: int, headers: dict[str, Any], output: str) -> None:
    type(requester).DEBUG_ON_RESPONSE(requester, status, headers, output)
    message = read_message(output.encode()) if status >= 400 else ""
    observe_current(Seen(status, headers, requester.hostname or "", message))


def _hook_githubkit(github: Any) -> None:
    """Put the hooks into the configuration, from which githubkit makes its httpx clients when it needs them."""
    added = {
        name: _with_hook(getattr(github.config, name), hook)
        for name, hook in (("event_hooks", observe_current), ("async_event_hooks", _observe_current_async))
        if hasattr(github.config, name)
    }
    if not added:
        raise TypeError("cannot hook into this version of githubkit; 0.16 is the first that has event hooks")
    github.config = dataclasses.replace(github.config, **added)
    for name in ("sync", "async"):
        # Within ``with github:`` there is a client already.
        opened = getattr(github, f"_GitHubCore__{name}_client", None)
        if opened is not None and (client := opened.get()) is not None:
            _hook_httpx(client)


def _with_hook(event_hooks: Any, hook: Callable[..., Any]) -> dict[str, list[Any]]:
    copied = {name: list(found) for name, found in (event_hooks or {}).items()}
    _add(copied, hook)
    return copied


_CLIENTS: tuple[tuple[str, str, Callable[[Any], None]], ...] = (
    *((root, name, _hook_httpx) for root in ("httpx", "httpx2") for name in ("Client", "AsyncClient")),
    ("requests", "Session", _hook_requests),
    ("aiohttp", "ClientSession", _hook_aiohttp),
    ("github", "Github", _hook_pygithub),
    ("githubkit", "GitHub", _hook_githubkit),
)
