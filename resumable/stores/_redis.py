"""Checkpoints in Redis or Valkey.

All keys of an operation share a hash tag, so that one node of a cluster has them all, and one script reads and changes
them atomically:

=============  ====================================================================================================
``…:op``       a hash: id, term and nonce of the owner, next number, what the snapshot stands for, summary
``…:lease``    the owner; expires
``…:log``      a stream of segments, each under its number, from the previous snapshot on
``…:snap``     a hash of pieces; ``…:prev`` is the previous snapshot, ``…:new:…`` one that is not committed
``…:art:…``    a hash of pieces: an artifact; ``…:arts`` is the set of their names
``…:wish``     the wish for the owner
=============  ====================================================================================================
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from .._errors import StoreBehindError, StoreError
from . import _redis_server as server
from ._base import Entry, Holder, Stored, Traits
from ._medium import HeldError, Parameters, Staged, decoded, encoded, row_key, stale

_log = logging.getLogger("resumable")
_TOMBSTONE = 7 * 86400
_STAGED = 86400

# KEYS: op, lease, log, snap, prev, staged. ARGV: nonce, term, holder, ttl in ms, then those of the verb.
# A term that is not lower than its own shuts an owner out. If the server has a lower one, or none, it has lost what it
# had acknowledged.
_OWNED = """
local known = redis.call('HMGET', KEYS[1], 'nonce', 'term', 'next', 'base', 'name')
local is_mine, next = known[1] == ARGV[1], tonumber(known[3] or '1')
if not is_mine and known[2] and tonumber(known[2]) >= tonumber(ARGV[2]) then
  return {'stale', redis.call('GET', KEYS[2])}
end
"""
_RENEW = """
local now = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
redis.call('HSET', KEYS[1], 'renewed', string.format('%d.%06d', now[1], now[2]))
"""
_SCRIPTS = {
    "claim": """
local term, nonce = unpack(redis.call('HMGET', KEYS[1], 'term', 'nonce'))
local held = redis.call('GET', KEYS[2])
if nonce ~= ARGV[1] then
  if held and ARGV[2] ~= 'any' and ARGV[2] ~= nonce then
    local now = redis.call('TIME')
    now = string.format('%d.%06d', now[1], now[2])
    return {'busy', held, redis.call('PTTL', KEYS[2]), redis.call('HGET', KEYS[1], 'renewed'), now}
  end
  term = redis.call('HINCRBY', KEYS[1], 'term', 1)
  redis.call('HSET', KEYS[1], 'nonce', ARGV[1], 'id', ARGV[5])
end
redis.call('PERSIST', KEYS[1])
"""
    + _RENEW
    + "return {'done', term, redis.call('HGET', KEYS[1], 'next') or '1', redis.call('EXISTS', KEYS[3])}",
    # The verb's: sequence, the number after it, the last acknowledged one, data, summary.
    "append": _OWNED
    + """
if not is_mine or next <= tonumber(ARGV[7]) then return {'behind'} end
if tonumber(ARGV[5]) < next then
  local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
  if last and last[1] == ARGV[5] .. '-0' and last[2][2] == ARGV[8] then return {'done'} end
  return {'stale', false}
end
if not known[4] then return {'bare'} end
redis.call('XADD', KEYS[3], ARGV[5] .. '-0', 'd', ARGV[8])
redis.call('HSET', KEYS[1], 'next', ARGV[6], 'summary', ARGV[9])
"""
    + _RENEW
    + "return {'done'}",
    # The verb's: sequence, the number after it, the last acknowledged one, name, pieces, size, summary, id.
    "commit": _OWNED
    + """
local sequence, last = tonumber(ARGV[5]), tonumber(ARGV[7])
if is_mine and known[5] == ARGV[8] then return {'done'} end
if is_mine and known[4] and sequence < tonumber(known[4]) then return {'stale', false} end
if next <= last then return {'behind'} end
if redis.call('HLEN', KEYS[6]) ~= tonumber(ARGV[9]) then return {'behind'} end
if known[4] then
  redis.call('XTRIM', KEYS[3], 'MINID', '=', known[4] .. '-1')
  redis.call('HSET', KEYS[1], 'previous', known[4], 'previous_next', known[3])
  if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('RENAME', KEYS[4], KEYS[5]) end
else
  redis.call('DEL', KEYS[3], KEYS[5])
end
redis.call('RENAME', KEYS[6], KEYS[4])
redis.call('PERSIST', KEYS[4])
redis.call('HSET', KEYS[1], 'nonce', ARGV[1], 'term', ARGV[2], 'id', ARGV[12])
redis.call('HSET', KEYS[1], 'base', ARGV[5], 'name', ARGV[8], 'size', ARGV[10])
if sequence >= next then redis.call('HSET', KEYS[1], 'next', ARGV[6]) end
if ARGV[11] ~= '' then redis.call('HSET', KEYS[1], 'summary', ARGV[11]) end
"""
    + _RENEW
    + "return {'done'}",
    "renew": _OWNED + "if not is_mine then return {'behind'} end\n" + _RENEW + "return {'done'}",
    "delete": _OWNED
    + """
if not is_mine then return {'behind'} end
redis.call('DEL', unpack(KEYS, 3))
redis.call('HDEL', KEYS[1], 'base', 'name', 'size', 'summary', 'previous', 'previous_next')
"""
    + _RENEW
    + "return {'done', known[4]}",
    # The verb's: name, number, data.
    "put": _OWNED
    + """
if not is_mine then return {'behind'} end
redis.call('HSET', KEYS[4], ARGV[6], ARGV[7])
redis.call('SADD', KEYS[3], ARGV[5])
return {'done'}
""",
    "drop": _OWNED
    + """
if not is_mine then return {'behind'} end
redis.call('DEL', KEYS[4])
redis.call('SREM', KEYS[3], ARGV[5])
return {'done'}
""",
    "clear": "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end\nreturn {'done'}",
    "release": """
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return {'done'} end
redis.call('DEL', KEYS[2])
if redis.call('HEXISTS', KEYS[1], 'base') == 0 then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
return {'done'}
""",
}
_KEYS = {
    "claim": ("op", "lease", "arts"),
    "append": ("op", "lease", "log"),
    "commit": ("op", "lease", "log", "snap", "prev"),
    "renew": ("op", "lease"),
    "delete": ("op", "lease", "log", "snap", "prev", "arts"),
    "put": ("op", "lease", "arts"),
    "drop": ("op", "lease", "arts"),
    "clear": ("wish",),
    "release": ("op", "lease"),
}


def open_url(url: str, parameters: Parameters) -> RedisMedium:
    """The server at *url*, see :class:`RedisMedium`."""
    return RedisMedium(url, parameters)


class RedisMedium:
    """A Redis or Valkey server, or a cluster, which keeps checkpoints as safely as it keeps its data.

    The first claim asks the server for its settings: it warns of a server that evicts keys or rarely writes to disk,
        and refuses a replica and a Sentinel. An operation lies on one node of a cluster.

    Args:
        url: In redis-py's form; also with ``valkey://`` and ``valkeys://``.

    Raises:
        ValueError: The URL is wrong.
    """

    traits: Traits = Traits(
        is_remote=True,
        keeps_summary=True,
        keeps_artifacts=True,
        largest_piece=1 << 20,
        leases_end=True,
        saves_renew=True,
        looks_every=2.0,
    )

    def __init__(self, url: str, parameters: Parameters) -> None:
        self._url = url
        self._one = server.client_of(url)
        self._place = parameters.added_to(server.without_secrets(url))
        self._prefix = parameters.table_prefix or "resumable"
        self._is_examined = False

    @cached_property
    def client(self) -> Any:
        """The client of the server, or of the cluster's node that has the key."""
        told = self._one.info("server")
        server.check(told, self._place)
        return server.cluster_of(self._url) if server.is_cluster(told) else self._one

    @cached_property
    def _scripts(self) -> dict[str, Any]:
        return {name: self.client.register_script(text) for name, text in _SCRIPTS.items()}

    @property
    def index(self) -> str:
        """The key of the set of all ids."""
        return f"{self._prefix}:ids"

    def key(self, operation_id: str, name: str) -> str:
        """The key of a part of an operation."""
        return f"{self._prefix}:{{{row_key(operation_id)[:32]}}}:{name}"

    def run(self, verb: str, operation_id: str, *arguments: bytes | str | int, more: Iterable[str] = ()) -> list[Any]:
        """Run the script of *verb*. Returns its answer.

        Raises:
            StoreError: The server cannot be reached, or refuses.
        """
        keys = [self.key(operation_id, name) for name in (*_KEYS[verb], *more)]
        with self.failing():
            answer: list[Any] = self._scripts[verb](keys=keys, args=arguments)
            return answer

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Turn an error of the client into a StoreError."""
        try:
            yield
        except server.ERRORS as error:
            if server.has_moved(error):
                self._look_anew()
            raise server.translated(error, self._place) from error

    def claim(self, key: str, me: Holder, *, ttl: float, take_over: bool | Holder = False) -> RedisLease:
        """Own *key*. See :meth:`Medium.claim`."""
        self._examine()
        from_whom = take_over.nonce if isinstance(take_over, Holder) else "any" if take_over else ""
        milliseconds = int(ttl * 1000)
        answer = self.run("claim", key, me.nonce, from_whom, encoded(me), milliseconds, key.encode())
        if answer[0] == b"busy":
            left, renewed = max(answer[2], 0) / 1000, answer[3] or answer[4]
            silent_for = float(answer[4]) - float(renewed)
            raise HeldError(decoded(answer[1]), left, silent_for, renewed.decode())
        owner = (me.nonce, int(answer[1]), encoded(me), milliseconds)
        return RedisLease(self, key, owner, int(answer[2]), has_artifacts=bool(answer[3]))

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state. See :meth:`CheckpointStore.read`."""
        with self.failing():
            pipeline = self.client.pipeline(transaction=True)
            pipeline.hmget(self.key(key, "op"), "base", "previous", "previous_next")
            pipeline.hgetall(self.key(key, "prev" if previous else "snap"))
            pipeline.xrange(self.key(key, "log"))
            (base, before, end), pieces, segments = pipeline.execute()
        first = before if previous else base
        if first is None or not pieces:
            return None
        pieces = _paired(pieces)
        numbered = [(int(name.partition(b"-")[0]), _paired(fields)[b"d"]) for name, fields in segments]
        last = int(end) if previous else numbered[-1][0] + 1 if numbered else 0
        journal = [data for number, data in numbered if int(first) < number < last]
        return Stored(
            b"".join(pieces[number] for number in sorted(pieces, key=int)), b"".join(journal), self.describe(key)
        )

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`), as they are now."""
        with self.failing():
            ids = sorted(name.decode() for name in self.client.smembers(self.index))
            found = [key for key in ids if fnmatchcase(key, pattern)]
            pipeline = self.client.pipeline(transaction=False)
            for key in found:
                pipeline.hmget(self.key(key, "op"), "base", "term", "size", "summary")
                pipeline.get(self.key(key, "lease"))
                pipeline.pttl(self.key(key, "lease"))
            answers: Iterator[Any] = iter(pipeline.execute() if found else ())
        for key in found:
            (base, term, size, summary), held, left = next(answers), next(answers), next(answers)
            if base is not None:
                holder = decoded(held) if held is not None else None
                lease_left = max(left, 0) / 1000 if holder is not None else None
                yield Entry(key, self.describe(key), summary or b"", int(size), int(term), holder, lease_left)

    def artifacts(self, key: str) -> set[str]:
        """The names of the artifacts of *key*."""
        with self.failing():
            return {name.decode() for name in self.client.smembers(self.key(key, "arts"))}

    def artifact_piece(self, key: str, name: str, number: int) -> bytes | None:
        """A piece of an artifact; None if there is none with that number."""
        with self.failing():
            piece: bytes | None = self.client.hget(self.key(key, _artifact(name)), str(number))
            return piece

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*."""
        for name in self.artifacts(key):
            with self.failing():
                path = self.key(key, _artifact(name))
                pipeline = self.client.pipeline(transaction=False)
                for number in self.client.hkeys(path):
                    pipeline.hstrlen(path, number)
                sizes = pipeline.execute()
            yield name, sum(sizes)

    def wish(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none."""
        with self.failing():
            wish: bytes | None = self.client.get(self.key(key, "wish"))
            return wish

    def put_wish(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*."""
        with self.failing():
            self.client.set(self.key(key, "wish"), wish)

    def clear_wish(self, key: str, wish: bytes) -> None:
        """Remove *wish*, but no other one."""
        self.run("clear", key, wish)

    def describe(self, key: str | None = None) -> str:
        """The URL without credentials, and the id."""
        return self._place if key is None else f"{self._place}#{key}"

    def close(self) -> None:
        """Close the connections."""
        self._look_anew()
        self._one.close()

    def _look_anew(self) -> None:
        """Make the next verb connect again, to the server that is the master then."""
        self._one.connection_pool.disconnect(inuse_connections=False)
        vars(self).pop("client", None)
        vars(self).pop("_scripts", None)

    def _examine(self) -> None:
        if self._is_examined:
            return
        with self.failing():
            told = self._one.info()
        server.check(told, self._place)
        self._is_examined = True
        for fact in server.what_it_may_lose(told):
            _log.warning("%s %s", self._place, fact)


class RedisLease:
    """An operation that is owned. See :class:`MediumLease`."""

    def __init__(
        self, medium: RedisMedium, key: str, owner: tuple[str, int, str, int], first: int, *, has_artifacts: bool
    ) -> None:
        self._medium = medium
        self._key = key
        self._owner = owner
        self._staged: set[str] = set()
        self.term: int = owner[1]
        self.next: int = first
        self.has_artifacts: bool = has_artifacts

    def read(self) -> Stored | None:
        """What is stored."""
        return self._medium.read(self._key)

    def append(self, sequence: int, last: int | None, data: bytes, summary: bytes) -> None:
        """Add save *sequence* to the journal. See :meth:`MediumLease.append`."""
        self._run("append", sequence, sequence + 1, last or 0, data, summary)

    def put_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of a snapshot. See :meth:`MediumLease.put_piece`."""
        self._staged.add(name)
        key = self._medium.key(self._key, f"new:{name}")
        with self._medium.failing():
            pipeline = self._medium.client.pipeline(transaction=False)
            pipeline.hset(key, str(number), data)
            pipeline.expire(key, _STAGED)
            # The set covers all operations, so no script can change it together with one. An extra entry is harmless.
            pipeline.sadd(self._medium.index, self._key.encode())
            pipeline.execute()

    def commit(self, staged: Staged, last: int | None, summary: bytes) -> None:
        """Make *staged* the snapshot. See :meth:`MediumLease.commit`."""
        name, sequence, pieces, size = staged
        numbers = (sequence, sequence + 1, last or 0, name, pieces, size)
        self._run("commit", *numbers, summary, self._key.encode(), more=(f"new:{name}",))
        self._staged.discard(name)

    def put_artifact_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of an artifact. See :meth:`ArtifactMediumLease.put_artifact_piece`."""
        self._run("put", name, str(number), data, more=(_artifact(name),))

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        for name in self._medium.artifacts(self._key).difference(names):
            self._run("drop", name, more=(_artifact(name),))

    def renew(self) -> None:
        """Extend the lease by its ttl from now."""
        self._run("renew")

    def delete(self) -> bool:
        """Remove everything but the claim. Returns whether there was a snapshot."""
        return self._run("delete", more=map(_artifact, self._medium.artifacts(self._key)))[1] is not None

    def release(self) -> None:
        """End the claim. See :meth:`MediumLease.release`."""
        self._run("release", _TOMBSTONE)
        if self._staged:
            with self._medium.failing():
                self._medium.client.unlink(*[self._medium.key(self._key, f"new:{name}") for name in self._staged])

    def _run(self, verb: str, *arguments: bytes | str | int, more: Iterable[str] = ()) -> list[Any]:
        answer = self._medium.run(verb, self._key, *self._owner, *arguments, more=more)
        match answer[0]:
            case b"done":
                return answer
            case b"stale":
                raise stale(self._key, decoded(answer[1]))
            case b"bare":
                raise StoreError(f"{self._key!r} has no whole checkpoint to add a save to")
            case _:
                raise StoreBehindError(self._key)


def _paired(answer: dict[bytes, bytes] | list[bytes]) -> dict[bytes, bytes]:
    """A hash; the cluster's client returns it as a flat list."""
    return dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer


def _artifact(name: str) -> str:
    """The part of an operation's keys for the artifact *name*."""
    return f"art:{name}"
