"""Properties of a Redis or Valkey server: how to connect, what it refuses, and what it may lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from .._errors import StoreError

_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_WORDS_THAT_PASS = ("BUSY ", "NOREPLICAS", "MISCONF")
"""Messages of a server that lacks a replica or disk space at present."""
_ERRORS_THAT_PASS = (exceptions.ReadOnlyError, exceptions.ClusterDownError, exceptions.TryAgainError)
"""Errors of a server that is failing over."""
ERRORS = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
"""Errors of the clients."""


def client_of(url: str) -> Any:
    """A client of the single server at *url*, not connected yet.

    Raises:
        ValueError: The URL is wrong.
    """
    return redis.Redis.from_url(_for_the_driver(url), **_options())


def cluster_of(url: str) -> Any:
    """A client of the whole cluster to which the server at *url* belongs."""
    return RedisCluster.from_url(_for_the_driver(url), **_options())


def _for_the_driver(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{_SCHEMES.get(scheme, scheme)}://{rest}"


def _options() -> dict[str, Any]:
    # Retries are decided above, in one place.
    return {
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }


def without_secrets(url: str) -> str:
    """*url* without possible credentials: user, password, and all parameters but the database's number."""
    parts = urlsplit(url)
    number = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name == "db"])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{number and f'?{number}'}"


def translated(error: BaseException, place: str) -> StoreError:
    """A client's error as a StoreError."""
    refused = isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError)
    passes = not refused or isinstance(error, _ERRORS_THAT_PASS) or str(error).startswith(_WORDS_THAT_PASS)
    text = str(error).partition(" script: ")[0]  # without the position in our script
    return StoreError(f"{place}: {text or type(error).__name__}", is_transient=passes)


def has_moved(error: BaseException) -> bool:
    """Whether another server may be the master now."""
    return isinstance(error, (*_ERRORS_THAT_PASS, exceptions.RedisClusterException))


def is_cluster(told: Mapping[str, Any]) -> bool:
    """Whether a server with these INFO fields is part of a cluster."""
    return _mode(told) == "cluster"


def _mode(told: Mapping[str, Any]) -> str:
    return str(told.get("redis_mode") or told.get("server_mode"))


def check(told: Mapping[str, Any], place: str) -> None:
    """Check that a server with these INFO fields accepts saves.

    Raises:
        StoreError: It does not. Says what to name instead.
    """
    if _mode(told) == "sentinel":
        raise StoreError(
            f"{place} is a Sentinel, which keeps no data. Name the master that it watches, best by a name that follows "
            "it; redis-cli sentinel masters tells where it is just now."
        )
    if told.get("role") in ("slave", "replica") and not is_cluster(told):
        raise StoreError(f"{place} is a replica, which takes no saves. Name its master.")
    version = str(told.get("redis_version", "6.2"))
    if tuple(map(int, version.split(".")[:2])) < (6, 2):
        raise StoreError(f"{place} is of version {version}; checkpoints need 6.2 or later.")


def what_it_may_lose(told: Mapping[str, Any]) -> Iterator[str]:
    """Warnings about a server with these INFO fields."""
    policy = told.get("maxmemory_policy", "noeviction")
    if told.get("maxmemory", 0) and policy != "noeviction":
        yield f"evicts keys when its memory is full (maxmemory-policy {policy}), and may evict checkpoints."
    if not told.get("aof_enabled", 1):
        yield (
            "has no append-only file: if it is killed or its machine stops, the saves since it last wrote its whole "
            "memory to disk are lost. To keep them:  redis-cli config set appendonly yes"
        )
