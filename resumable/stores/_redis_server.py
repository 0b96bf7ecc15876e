"""Properties of a Redis or Valkey server: how to connect, what it refuses, and what it may lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import SSLConnection, parse_url
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from .._errors import StoreError
from ._medium import with_parameter

_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_WORDS_THAT_PASS = ("BUSY ", "NOREPLICAS", "MISCONF")
"""Messages of a server that lacks a replica or disk space at present."""
_ERRORS_THAT_PASS = (exceptions.ReadOnlyError, exceptions.ClusterDownError, exceptions.TryAgainError)
"""Errors of a server that is failing over."""
ERRORS = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
"""Errors of the clients."""
_SENTINEL_PORT = 26379
_WHO = ("username", "password")


def client_of(url: str) -> Any:
    """A client of the single server at *url*, or of the master that its Sentinels name; not connected yet.

    Raises:
        ValueError: The URL is wrong.
    """
    if "+sentinel://" in url:
        raise ValueError(f"{without_secrets(url)}: write it as redis://host1,host2/0?sentinel=NAME_OF_THE_MASTER")
    name = dict(parse_qsl(urlsplit(url).query)).get("sentinel")
    driver = _for_the_driver(url)
    client = _client_by_sentinels(driver, name) if name is not None else redis.Redis.from_url(driver, **_options())
    try:
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # connects nothing, and does not count as one of the pool
    except TypeError as error:
        unknown = str(error).rpartition(" ")[2]
        raise ValueError(f"{without_secrets(url)}: Redis has no option {unknown}") from None
    return client


def _client_by_sentinels(url: str, name: str) -> Any:
    """A client of the master *name*: its place is asked for at each new connection, so that it follows a failover.

    Args:
        url: The places of some Sentinels, with a comma between two. Its user, password and other options are the
            master's, but for ``sentinel_username`` and ``sentinel_password``.
    """
    parts = urlsplit(url)
    who, at, hosts = parts.netloc.rpartition("@")
    told = dict(parse_qsl(parts.query))
    options = urlencode({key: value for key, value in told.items() if not key.startswith("sentinel")})
    parsed: Any = parse_url  # which has no types, as all here
    of_master = parsed(f"{parts.scheme}://{who}{at}master{parts.path}?{options}") | _options()
    del of_master["host"]
    of_sentinels = _options() | {key: told[f"sentinel_{key}"] for key in _WHO if f"sentinel_{key}" in told}
    if issubclass(of_master.pop("connection_class", object), SSLConnection):
        of_master["ssl"] = True
        of_sentinels |= {"ssl": True} | {key: value for key, value in of_master.items() if key.startswith("ssl_")}
    sentinels: Any = Sentinel
    return sentinels([*map(_sentinel_at, hosts.split(","))], sentinel_kwargs=of_sentinels).master_for(name, **of_master)


def _sentinel_at(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("the host of a Sentinel is missing: redis://host1,host2/0?sentinel=NAME")
    return parts.hostname, parts.port or _SENTINEL_PORT


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
    """*url* without what may be a credential: user, password, and parameters but those that say where it is."""
    parts = urlsplit(url)
    told = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name in ("db", "sentinel")])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{told and f'?{told}'}"


def translated(error: BaseException, place: str) -> StoreError:
    """A client's error as a StoreError."""
    refused = isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError)
    passes = not refused or isinstance(error, _ERRORS_THAT_PASS) or str(error).startswith(_WORDS_THAT_PASS)
    text = str(error).partition(" script: ")[0]  # where in a script of ours it was
    if isinstance(error, MasterNotFoundError):
        text = text.partition(" : ")[0]  # all Sentinels, and what each one said
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
            f"{place} is a Sentinel, which keeps no data. To use the master that it watches, add its name: "
            f"{with_parameter(place, 'sentinel', 'mymaster')} (redis-cli -p PORT sentinel masters lists the names)."
        )
    if told.get("role") in ("slave", "replica") and not is_cluster(told):
        raise StoreError(f"{place} is a replica, which accepts no writes. Give the address of its master.")
    version = str(told.get("redis_version", "6.2"))
    if tuple(map(int, version.split(".")[:2])) < (6, 2):
        raise StoreError(f"{place} runs version {version}; checkpoints need 6.2 or later.")


def what_it_may_lose(told: Mapping[str, Any]) -> Iterator[str]:
    """Warnings about a server with these INFO fields."""
    policy = told.get("maxmemory_policy", "noeviction")
    if told.get("maxmemory", 0) and policy != "noeviction":
        yield f"evicts keys when its memory is full (maxmemory-policy {policy}), which may remove checkpoints."
    if not told.get("aof_enabled", 1):
        yield (
            "has no append-only file: if it is killed or its machine stops, all saves since its last snapshot to disk "
            "are lost. To keep them:  redis-cli config set appendonly yes"
        )
