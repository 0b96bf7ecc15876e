"""A bucket of an object store through obstore: reads, writes, conditional writes, lists, removes."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    NotFoundError,
    NotModifiedError,
    PreconditionError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from .._errors import StoreError
from .._runtime.processes import passed_seconds
from .._text import hidden

_NO_SECRETS = ("endpoint", "region", "allow_http")
"""The parameters of a URL that people may see."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TIMEOUT, _BULK_TIMEOUT, _CONNECT_TIMEOUT = "10s", "120s", "5s"
_WRITES_APART = 1.1
"""Seconds between two writes of one object: Google allows one each second."""
_CLOCK_MARGIN = 2.0
"""Seconds: the service cuts an object's time to whole seconds."""
_MAY_PASS = {"408", "409", "429"}


class Version(NamedTuple):
    """Identifies one write of an object.

    Attributes:
        modified: When it was written, by the store's clock, in seconds since the epoch; 0 if unknown.
    """

    e_tag: str | None
    version: str | None
    modified: float = 0.0

    def condition(self) -> dict[str, str]:
        """The condition by which a later write replaces exactly this version."""
        return {name: told for name, told in (("e_tag", self.e_tag), ("version", self.version)) if told}


class Missing(Exception):
    """The object does not exist."""


class Refused(Exception):
    """A write's condition does not hold, perhaps because of an earlier attempt of ours."""


class Bucket:
    """A bucket, or the objects with a prefix in it.

    Args:
        url: ``s3://bucket/prefix``, ``gs://…`` or ``az://container/prefix``. Its parameters are obstore's, such as
            ``endpoint`` and ``region``; missing ones come from the places that the service's own tools read.
        folder: Another part of the prefix.

    Raises:
        ValueError: The URL is wrong.
    """

    def __init__(self, url: str, folder: str = "") -> None:
        parts = urlsplit(url)
        self._scheme = parts.scheme.lower()
        self._name, path = unquote(parts.netloc.rpartition("@")[2]), unquote(parts.path).strip("/")
        self._prefix = "/".join(filter(None, (path, folder)))
        if not self._name:
            raise ValueError(f"{self._scheme}:// needs the name of a bucket")
        self._config = dict(parse_qsl(parts.query))
        self._allow_http = self._config.pop("allow_http", "").lower() in ("1", "true", "yes")
        endpoint = urlsplit(self._config.get("endpoint", ""))
        self._allow_http |= endpoint.hostname in _LOOPBACK
        if endpoint.scheme == "http" and not self._allow_http:
            raise ValueError(
                f"http:// would send everything to the endpoint {endpoint.hostname} unencrypted; to allow that, add "
                "allow_http=true"
            )
        self.place: str = "/".join(filter(None, (f"{self._scheme}://{self._name}", self._prefix)))
        told = [(name, value) for name, value in parse_qsl(parts.query) if name in _NO_SECRETS]
        self.address = hidden(f"{self.place}?{urlencode(told, safe=':/@')}") if told else self.place
        self._clients: dict[str, Any] = {}
        self._written: dict[str, float] = {}
        self._clock: tuple[float, float] | None = None
        self._client(_TIMEOUT)

    # -- objects

    def get(self, path: str, most: int | None = None) -> tuple[bytes, Version]:
        """The first *most* bytes of an object, or all.

        Raises:
            Missing: It does not exist. The error's text is *path*.
        """
        options = {"range": (0, most)} if most is not None else None
        with self._failing(path):
            found = obstore.get(self._client(_BULK_TIMEOUT), path, options=options)  # type: ignore[arg-type]
            return bytes(found.bytes()), _version(found.meta)

    def put(self, path: str, data: bytes) -> None:
        """Write an object, whether it exists or not."""
        with self._failing(path):
            obstore.put(self._client(_BULK_TIMEOUT), path, data, use_multipart=False)

    def replace(self, path: str, data: bytes, version: Version | None) -> Version:
        """Replace *version* of an object; None: create the object.

        Raises:
            Refused: Another version is there.
        """
        self._wait_for_turn(path)
        mode: Any = "create" if version is None else version.condition()
        try:
            with self._failing(path):
                try:
                    return _version(obstore.put(self._client(_TIMEOUT), path, data, mode=mode, use_multipart=False))
                except (AlreadyExistsError, PreconditionError, NotModifiedError):
                    raise Refused(path) from None
        except Missing:
            raise Refused(path) from None

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects, whether they exist or not."""
        for start in range(0, len(paths), 1000):
            with contextlib.suppress(Missing), self._failing(paths[start]):
                obstore.delete(self._client(_TIMEOUT), paths[start : start + 1000])

    def folders(self) -> list[str]:
        """The first part of the objects' names, up to a slash."""
        with self._failing(""):
            return sorted(obstore.list_with_delimiter(self._client(_TIMEOUT))["common_prefixes"])

    def objects(self, folder: str) -> dict[str, int]:
        """The sizes of the objects in *folder*, by their names without the folder."""
        with self._failing(folder):
            found = [one for some in obstore.list(self._client(_TIMEOUT), folder) for one in some]
        return {one["path"].removeprefix(f"{folder}/"): one["size"] for one in found}

    def close(self) -> None:
        """Close the connections."""
        self._clients.clear()

    # -- what the service supports

    def try_conditions(self) -> None:
        """Check that the service refuses a write whose condition does not hold.

        Raises:
            StoreError: It does not. Says what it did.
        """
        path = f"probe-{os.urandom(8).hex()}"
        try:
            first = self._tried(path, None, "refused to create a new object (If-None-Match)")
            self._must_refuse(
                path, None, "overwrote an object that should be created only if there is none (If-None-Match)"
            )
            self._tried(path, first, "refused to replace an object of the version that the request named (If-Match)")
            self._must_refuse(path, first, "overwrote an object though the request named another version (If-Match)")
            self._clock = self.get(path)[1].modified, passed_seconds()
        finally:
            with contextlib.suppress(StoreError):
                self.remove([path])

    def _tried(self, path: str, version: Version | None, otherwise: str) -> Version:
        try:
            return self.replace(path, b"0" if version is None else b"1", version)
        except Refused:
            there_is_none = version is None and not self._is_there(path)
            raise self._useless("has no such bucket" if there_is_none else otherwise) from None
        except StoreError as error:
            if error.is_transient:
                raise
            raise self._useless(f"answered: {error}") from None

    def _must_refuse(self, path: str, version: Version | None, otherwise: str) -> None:
        try:
            self.replace(path, b"2", version)
        except Refused:
            return
        raise self._useless(otherwise)

    def _is_there(self, path: str) -> bool:
        try:
            self.get(path)
        except Missing:
            return False
        return True

    def _useless(self, what: str) -> StoreError:
        return StoreError(f"{self.place} cannot hold checkpoints: its service {what}. Nothing was saved.")

    def seconds_since(self, version: Version) -> float:
        """Seconds since *version* was written, by the store's clock alone; rather too few; 0 if unknown."""
        if self._clock is None:
            path = f"probe-{os.urandom(8).hex()}"
            with contextlib.suppress(StoreError, Missing):
                self.put(path, b"0")
                self._clock = self.get(path)[1].modified, passed_seconds()
                self.remove([path])
        if self._clock is None:
            return 0.0
        at_first, then = self._clock
        return max(at_first + passed_seconds() - then - version.modified - _CLOCK_MARGIN, 0.0)

    # -- the client

    def _client(self, timeout: str) -> Any:
        _check_process(self.place)
        if timeout not in self._clients:
            self._clients[timeout] = _make_client(
                self._scheme, self._name, self._prefix, self._config, timeout=timeout, allow_http=self._allow_http
            )
        return self._clients[timeout]

    def _wait_for_turn(self, path: str) -> None:
        if self._scheme == "gs":
            time.sleep(max(0.0, self._written.get(path, 0.0) + _WRITES_APART - time.monotonic()))
            self._written[path] = time.monotonic()

    @contextlib.contextmanager
    def _failing(self, path: str) -> Iterator[None]:
        """Turn an error of the client into a StoreError, or Missing."""
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise Missing(path) from None
        except (BaseError, OSError) as error:
            text = _without_secrets(str(error))
            status = re.search(r"status code: (\d+)", text)
            passes = isinstance(error, GenericError) and (
                status is None or status[1] in _MAY_PASS or (status[1][0] == "5" and status[1] != "501")
            )
            passes |= any(code in text for code in _RENEWED)
            if _ASKS_THE_MACHINE.search(text):
                text = f"no credentials: set {_CREDENTIALS[self._scheme]}, or run where the machine has a role ({text})"
            # The error's text shows the whole request, which may contain a secret.
            raise StoreError(f"{self.place}: {text}", is_transient=passes) from None


_RENEWED = ("ExpiredToken", "TokenRefreshRequired")
"""Codes of credentials that have run out, and are renewed by whoever has given them."""
_ASKS_THE_MACHINE = re.compile(r"169\.254\.169\.254|latest/api/token|metadata\.google\.internal")
"""In errors of requests for credentials, which a client without any sends to the cloud's machine that it runs on."""
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_TOLD = (r"<Code>([^<]*)", r"<Message>([^<]*)")
_pid: int | None = None


def _check_process(place: str) -> None:
    """Refuse a forked child: the client's threads do not survive a fork, and every call would hang."""
    global _pid
    if _pid is None:
        _pid = os.getpid()
    elif _pid != os.getpid():
        raise StoreError(
            f"{place} cannot be used here: this process was forked from one that has used an object store, and the "
            "client would hang. Start workers with multiprocessing's spawn or forkserver."
        )


def _make_client(
    scheme: str, name: str, prefix: str, config: Mapping[str, str], *, timeout: str, allow_http: bool
) -> Any:
    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        return kinds[scheme](
            name,
            prefix=prefix or None,
            config=dict(config),
            client_options={"timeout": timeout, "connect_timeout": _CONNECT_TIMEOUT, "allow_http": allow_http},
            # Retries are decided above, in one place.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        )
    except BaseError as error:
        raise ValueError(f"{scheme}://{name}: {_without_secrets(str(error))}") from None


def _version(told: Mapping[str, Any]) -> Version:
    modified = told.get("last_modified")
    return Version(told.get("e_tag"), told.get("version"), modified.timestamp() if modified is not None else 0.0)


def _without_secrets(text: str) -> str:
    """The first line of an error, without a request's parameters, which may contain a signature.

    What the service says is in a document of XML, which may be many lines: of that, its code and its message.
    """
    before, mark, document = text.strip().partition("<?xml")
    told = [found[1].strip() for found in map(re.search, _TOLD, [document] * len(_TOLD)) if found is not None]
    line = before.rstrip(" :\n") + ": " + ": ".join(told) if mark and told else text.strip()
    return re.sub(r"\?\S+", "?***", line.split("\n")[0])[:400]
