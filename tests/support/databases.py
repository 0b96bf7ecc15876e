"""Database servers for tests, each in a process of its own on a free port: PostgreSQL and MariaDB."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.media import SERVERS, Medium, MissingServer, free_port
from tests.support.servers import find_postgres

USER, PASSWORD, DATABASE = "keeper", "pw-of-the-keeper", "checkpoints"
QUICK_POSTGRES = ("-c", "fsync=off")
"""What the system holds outlives a process; only a machine's end would need more."""
QUICK_MARIADB = ("--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0")


def postgresql(*options: str) -> Medium:
    """PostgreSQL, which syncs no save unless *options* are given."""
    programs = find_postgres()
    if programs is None:
        raise MissingServer("PostgreSQL is missing:  apt install postgresql")
    port = free_port()
    as_user = _as_user("postgres")

    def command(place: Path) -> list[str]:
        password = place / "password"
        password.write_text(PASSWORD)
        _give(place, "postgres")
        init = ["--pgdata", str(place / "data"), "--username", USER, "--pwfile", str(password), "--no-sync"]
        _run(*as_user, str(programs / "initdb"), *init, "--auth=scram-sha-256", "--encoding=UTF8", cwd=place)
        settings = ["-c", "listen_addresses=127.0.0.1", *(options or QUICK_POSTGRES)]
        return [
            *as_user,
            str(programs / "postgres"),
            "-D",
            str(place / "data"),
            "-p",
            str(port),
            "-k",
            str(place),
            *settings,
        ]

    return Medium(command, lambda: _connects_to_postgres(port), _url("postgresql", port, "postgres"))


def mariadb(*options: str) -> Medium:
    """MariaDB, which syncs no save unless *options* are given."""
    server = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    install = shutil.which("mariadb-install-db")
    if server is None or install is None:
        raise MissingServer("MariaDB is missing:  apt install mariadb-server")
    port = free_port()

    def command(place: Path) -> list[str]:
        user = "mysql" if os.getuid() == 0 else getpass.getuser()
        grant = f"CREATE USER IF NOT EXISTS {USER} IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {DATABASE}.* TO {USER};"
        (place / "init.sql").write_text(f"CREATE DATABASE IF NOT EXISTS {DATABASE}; {grant}\n".replace("; ", ";\n"))
        _give(place, user)
        made = ["--no-defaults", f"--datadir={place / 'data'}", f"--user={user}", "--skip-test-db"]
        _run(install, *made, "--auth-root-authentication-method=normal", cwd=place)
        where = [f"--datadir={place / 'data'}", f"--port={port}", f"--socket={place / 's'}", f"--user={user}"]
        how = ["--bind-address=127.0.0.1", f"--pid-file={place / 'pid'}", f"--init-file={place / 'init.sql'}"]
        return [server, "--no-defaults", *where, *how, *(options or QUICK_MARIADB)]

    return Medium(command, lambda: _connects_to_mariadb(port), _url("mariadb", port, DATABASE))


def _url(scheme: str, port: int, database: str) -> str:
    return f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}"


def _as_user(name: str) -> list[str]:
    """What a command begins with that is to run as user *name*, where this is root, as whom servers refuse to run."""
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups"] if os.getuid() == 0 else []


def _give(place: Path, user: str) -> None:
    if os.getuid() == 0:
        for path in (place, *place.iterdir()):
            shutil.chown(path, user, user)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def _connects_to_postgres(port: int) -> bool:
    import psycopg

    with contextlib.suppress(psycopg.Error):
        psycopg.connect(_url("postgresql", port, "postgres"), connect_timeout=10).close()
        return True
    return False


def _connects_to_mariadb(port: int) -> bool:
    import pymysql

    with contextlib.suppress(pymysql.Error):
        to = {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD, "database": DATABASE}
        pymysql.connect(**to, connect_timeout=10).close()
        return True
    return False


SERVERS |= {"postgresql": postgresql, "mariadb": mariadb}
