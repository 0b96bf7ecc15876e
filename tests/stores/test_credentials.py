"""No credential of a store's URL is in any message, repr, log, file or recorded command line."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import redis

from resumable import CheckpointManager, checkpointed, open_store
from resumable.stores import EncryptedStore, Holder
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.databases import PASSWORD
from tests.support.media import place_in
from tests.support.media import redis as redis_server

SECRET = "tiger-9f2c-lives-here"
URLS = [
    f"postgresql://scott:{SECRET}@127.0.0.1:1/db",
    f"mariadb://scott:{SECRET}@127.0.0.1:1/db",
    f"postgresql://scott@127.0.0.1:1/db?password={SECRET}",
    f"redis://scott:{SECRET}@127.0.0.1:1/0",
    f"redis://:{SECRET}@127.0.0.1:1/0",
]
NONSENSE = [
    f"postgresql://scott:{SECRET}@[::1/db",
    f"postgresql://scott:{SECRET}@127.0.0.1:port/db",
    f"postgresql://scott:{SECRET}@127.0.0.1:1",
    f"nothing://scott:{SECRET}@127.0.0.1:1/db",
    f"postgresql://scott:{SECRET}@127.0.0.1/db?lease=never",
    f"mysql+nodriver://scott:{SECRET}@127.0.0.1/db",
]


def told_by(work: Callable[[], object]) -> str:
    """All that the error of *work* says, with those behind it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever comes
        work()
    again = pickle.loads(pickle.dumps(caught.value))
    return "\n".join([*traceback.format_exception(caught.value), repr(caught.value), str(again), repr(again)])


@pytest.mark.slow
@pytest.mark.parametrize("url", URLS)
def test_a_store_that_cannot_be_reached_shows_none(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("resumable.stores._lease._LOOK_SECONDS", 0.1)
    store = open_store(url)
    block = checkpointed("job", store=url, patience=0)
    shown = [repr(store), str(store.describe()), str(store.describe("job")), repr(block)]
    shown += [repr(CheckpointManager(store=url))]
    shown += [told_by(lambda: store.read("job")), told_by(block.__enter__)]

    assert SECRET not in "\n".join(shown)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", NONSENSE)
def test_a_url_that_is_none_shows_none(url: str) -> None:
    assert SECRET not in told_by(lambda: open_store(url)).replace(repr(url), "")


JOB = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from resumable import checkpointed, every, resumable
with checkpointed("job", every(items=1), store=sys.argv[1], auto_cleanup=False, arguments={"store": sys.argv[1]}) as cp:
    for number in cp.remaining(range(5)):
        cp.log("rows").append(number)
@resumable(operation_id="called", store=sys.argv[1], auto_cleanup=False)
def called(cp, place):
    cp.tick()
    raise RuntimeError(place)
try:
    called(sys.argv[1])
except RuntimeError:
    pass
with checkpointed("job", store=sys.argv[1]):
    1 / 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_nothing_that_a_run_says_or_keeps_shows_one(server: str, tmp_path: Path) -> None:
    url = place_in(server, tmp_path)
    assert PASSWORD in url
    job = tmp_path / "job.py"
    job.write_text(JOB)
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "CHECKPOINT_STORE": url}
    done = subprocess.run([sys.executable, str(job), url], env=environ, capture_output=True, text=True, cwd=tmp_path)
    assert "ZeroDivisionError" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr

    for arguments in (["list"], ["list", "--json"], ["show", "job"], ["show", "called", "--json"], ["verify"]):
        command = [sys.executable, "-m", "resumable", *arguments]
        shown = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert PASSWORD not in shown.stdout + shown.stderr
    store = open_store(url)
    for key in ("job", "called"):
        found = store.read(key)
        assert found is not None
        assert PASSWORD.encode() not in found.snapshot + found.journal
    assert all(PASSWORD.encode() not in entry.summary for entry in store.list())
    assert [path.name for path in tmp_path.iterdir()] == ["job.py"]


ODD = "tig&er/9%2f=c#l+i v@es:h?ere"
FORMS = {ODD, quote(ODD, safe=""), quote_plus(ODD), repr(ODD)[1:-1], "9%2f=c"}


@pytest.mark.slow
@pytest.mark.parametrize("url", ["redis://:{quoted}@{place}/0", "redis://{place}/0?password={plus}"])
def test_one_with_odd_letters_is_not_shown_either(url: str, tmp_path: Path) -> None:
    """Nor in the index, in what a runner notes, in a report, in a command that is to be typed."""
    with redis_server() as server:
        place = server.url.removeprefix("redis://").removesuffix("/0")
        redis.Redis.from_url(server.url).config_set("requirepass", ODD)
        full = url.format(place=place, quoted=quote(ODD, safe=""), plus=quote_plus(ODD))
        (tmp_path / "job.py").write_text(JOB)
        (tmp_path / "items").write_text("one\n")
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "CHECKPOINT_STORE": full}
        environ |= {"RESUMABLE_INDEX": str(tmp_path / "index")}
        told, me = "", [sys.executable, "-m", "resumable"]
        for command in (
            [*me, "run", "--items", "items", "--joblog", "jobs.tsv", "--", sys.executable, "job.py", full],
            *([*me, *words] for words in (["list", "--all", "--json"], ["tail", "job"], ["verify"], ["rm", "nothing"])),
            [*me, "report", "job", "-o", "report.html"],
            [*me, "list", "--store", full.replace("redis", "reddis")],
            [*me, "show", "job", "--store", full.replace("tig", "tog")],
        ):
            done = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path)
            told += done.stdout + done.stderr
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "ZeroDivisionError" in told
    assert {"report.html", "jobs.tsv", "index"} < {path.name for path in tmp_path.iterdir()}
    assert not [form for form in FORMS if form in told or form.encode() in kept]


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_a_password_that_is_wrong_is_told_without_it_and_at_once(server: str, tmp_path: Path) -> None:
    url = place_in(server, tmp_path).replace(PASSWORD, SECRET)
    store = EncryptedStore(url, EncryptedStore.new_key())
    for work in (lambda: store.claim("job", Holder.me()), checkpointed("job", store=url).__enter__):
        told = told_by(work)
        assert SECRET not in told
        assert "127.0.0.1" in told
        assert "denied" in told or "authentication failed" in told
