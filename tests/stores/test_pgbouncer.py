"""A pooler between a program and PostgreSQL, which gives each transaction another connection."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resumable import StoreError, checkpointed, every, open_store, read
from tests.support.databases import PASSWORD, USER, postgresql
from tests.support.media import Medium, MissingServer, free_port
from tests.support.stores import keys, put

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def pgbouncer(mode: str) -> Iterator[Medium]:
    """PgBouncer before a new PostgreSQL, which it keeps two connections to."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is missing:  apt install pgbouncer")
    port = free_port()
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql())
        except MissingServer as missing:
            pytest.skip(str(missing))
        behind = server.url.rpartition(":")[2].partition("/")[0]
        settings = {"listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "plain", "pool_mode": mode}
        settings |= {"default_pool_size": 2, "unix_socket_dir": ""}

        def command(place: Path) -> list[str]:
            (place / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
            lines = [
                "[databases]",
                f"* = host=127.0.0.1 port={behind}",
                "[pgbouncer]",
                f"auth_file = {place / 'users'}",
            ]
            lines += [f"{name} = {value}" for name, value in settings.items()]
            (place / "ini").write_text("\n".join(lines) + "\n")
            if os.getuid():
                return [program, str(place / "ini")]
            for path in (place, *place.iterdir()):
                shutil.chown(path, "postgres", "postgres")
            return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", program, str(place / "ini")]

        def is_up() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        yield stack.enter_context(Medium(command, is_up, server.url.replace(f":{behind}/", f":{port}/")))


@pytest.mark.filterwarnings("ignore:.*thread")
def test_five_loops_share_two_connections_and_outlive_the_poolers_restart() -> None:
    with pgbouncer("transaction") as pooler:
        names, all_begun = [f"job-{number}" for number in range(5)], threading.Barrier(6)

        def run(name: str) -> None:
            with checkpointed(name, every(items=1), store=pooler.url, auto_cleanup=False) as cp:
                sizes = cp.mapping("sizes")
                sizes.update({str(number): "x" * 50 for number in range(300)})
                for number in cp.remaining(range(20)):
                    sizes[str(number)] = number
                    if number == 10:
                        all_begun.wait(60)

        threads = [threading.Thread(target=run, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        all_begun.wait(60)
        pooler.restart()
        for thread in threads:
            thread.join(120)

        assert keys(open_store(pooler.url)) == names
        for name in names:
            assert [read(name, pooler.url).state["sizes"][str(number)] for number in range(20)] == [*range(20)]


def test_one_that_pools_statements_is_refused_with_what_to_set() -> None:
    with pgbouncer("statement") as pooler, pytest.raises(StoreError, match="Set pool_mode = transaction"):
        put(open_store(pooler.url), "job", b"x")
