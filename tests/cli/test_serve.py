"""``resumable serve``: shown to who has its address, changed by nobody else, and whatever jobs hold is text."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from resumable import CheckpointManager, checkpointed, every
from resumable._report import live
from resumable._report.pages.site import path_for
from resumable._report.places import directory, note_place
from resumable._report.wishes import PAUSED, ask, asked_of
from resumable.cli import _serve
from resumable.cli._serve import Server, Site
from resumable.stores import FileStore

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\"'&/../%2e"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "state"))
    return tmp_path


Answer = tuple[int, str, http.client.HTTPMessage]


class Served:
    def __init__(self, site: Site) -> None:
        self.site, self.server = site, Server(site, 0)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        told = {"Cookie": f"resumable_token_{self.port}={self.site.token}"} | {
            n.replace("_", "-"): v for n, v in headers.items()
        }
        connection.request(method, path, body, told)
        answer = connection.getresponse()
        page = answer.read().decode()
        connection.close()
        return answer.status, page, answer.headers

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, token: str | None = None, **form: str) -> Answer:
        return self.ask("POST", path, urlencode({"token": self.site.token if token is None else token} | form))


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(store: FileStore | None = None, **options: Any) -> Served:
        running.append(Served(Site(store, **options)))
        return running[-1]

    yield start
    for one in running:
        one.server.shutdown()
        one.server.server_close()


def crawl(operation_id: str = "crawl", store: str = "ck") -> str:
    with pytest.raises(ConnectionError), checkpointed(operation_id, every(items=2), store=store) as cp:  # noqa: PT012
        for number in cp.remaining(range(10)):
            cp.state[HOSTILE] = HOSTILE
            if number == 3:
                cp.fail(number, HOSTILE)
            if number == 7:
                raise ConnectionError(HOSTILE)
    return path_for(str(Path(store).absolute()), operation_id)


def test_all_jobs_of_the_machine_and_each_of_them_are_shown(serve: Callable[..., Served]) -> None:
    path, _ = crawl(), crawl("other", "there")
    served = serve()

    status, page, headers = served.get("/")
    assert status == 200
    assert "Jobs on this machine" in page
    assert f'href="{path}"' in page
    assert str(Path("there").absolute()) in page
    assert headers["Cache-Control"] == "no-store"
    status, page, _ = served.get(path)
    assert status == 200
    for told in ("Failed items", "ConnectionError", "7 of 10", "Settings"):
        assert told in page


def test_the_page_of_a_job_has_one_state_the_one_that_it_has_now(serve: Callable[..., Served]) -> None:
    """The last save of a job that is paused says that it runs."""
    store = FileStore("ck")
    with checkpointed("job", store="ck") as cp:
        cp.save(PAUSED)
        ask(store, "job", "pause")
        page = serve(store, allows_control=True).get(path_for(str(Path("ck").absolute()), "job"))[1]

    assert re.findall(r'class="state (\w+)"', page) == ["paused"]
    assert page.index("<h1>") < page.index("paused since") < page.index('value="resume"')


def test_one_place_is_shown_if_asked_for(serve: Callable[..., Served]) -> None:
    crawl(), crawl("other", "there")

    page = serve(FileStore("there")).get("/")[1]

    assert "other" in page
    assert ">crawl<" not in page


def test_whatever_jobs_hold_is_text(serve: Callable[..., Served]) -> None:
    path = crawl(HOSTILE)
    served = serve(allows_control=True)

    for page in (served.get("/")[1], served.get(path)[1]):
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_without_the_token_nothing_is_shown(serve: Callable[..., Served]) -> None:
    path = crawl()
    served = serve()

    name = f"resumable_token_{served.port}"
    for cookie in ("", f"{name}=x", f"{name}=\xff", f"a=b; {name}", f"resumable_token={served.site.token}"):
        for asked in ("/", path, "/?token=no"):
            status, page, _ = served.get(asked, Cookie=cookie)
            assert status == 403
            assert "crawl" not in page


def test_the_token_of_the_address_becomes_a_cookie(serve: Callable[..., Served]) -> None:
    served = serve()

    status, _, headers = served.get(f"/?token={served.site.token}", Cookie="")

    assert (status, headers["Location"]) == (303, "/")
    assert headers["Set-Cookie"].startswith(f"resumable_token_{served.port}=")  # two of them on a machine
    assert headers["Set-Cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")


def test_a_name_that_somebody_has_led_here_is_refused(serve: Callable[..., Served]) -> None:
    served = serve()

    assert served.get("/", Host="evil.example.org")[0] == 421
    assert served.get("/", Host=f"localhost:{served.port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example.org", "null", "http://127.0.0.1:1", "https://localhost"])
def test_a_form_of_another_page_is_refused_though_it_has_the_token(origin: str, serve: Callable[..., Served]) -> None:
    path = crawl()
    served = serve(allows_control=True)
    form = urlencode({"token": served.site.token, "ask": "stop"})

    assert served.ask("POST", path, form, Origin=origin)[0] == 403
    assert served.ask("POST", path, form, Host="evil.example.org")[0] == 421
    assert FileStore("ck").wish("crawl") is None
    assert served.ask("POST", path, form, Origin=f"http://localhost:{served.port}")[0] == 303


@pytest.mark.slow
def test_a_place_that_is_away_is_named_and_asked_once_in_a_while(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crawl()
    home = directory()
    assert home is not None
    note_place(home, "redis://127.0.0.1:1/0")
    asked, look = list[str](), live._look
    monkeypatch.setattr(live, "_look", lambda place, found: (asked.append(place), look(place, found)))
    monkeypatch.setattr(_serve, "_ASKED_AGAIN_SECONDS", 3600)
    served = serve()

    first = served.get("/")[1]
    pages = [served.get("/")[1], served.get(path)[1]]
    assert asked.count("redis://127.0.0.1:1/0") == 1, "each page has waited for it"
    for page in (first, pages[0]):
        assert "Places that do not answer" in page
        assert "redis://127.0.0.1:1/0" in page
        assert f'href="{path}"' in page
    assert "7 of 10" in pages[1]


def test_nothing_can_be_asked_of_a_job_unless_allowed(serve: Callable[..., Served]) -> None:
    path = crawl()
    served = serve()

    assert served.post(path, ask="retry-failed")[0] == 403
    assert "<form" not in served.get(path)[1]
    assert not list(Path("ck").glob("*.ask"))


def test_who_is_allowed_asks_by_a_form_with_the_token(serve: Callable[..., Served]) -> None:
    path = crawl()
    served = serve(allows_control=True)
    store = FileStore("ck")

    assert 'value="retry-failed"' in served.get(path)[1]
    assert served.post(path, token="wrong", ask="stop")[0] == 403
    assert served.post(path, ask="rm -rf")[0] == 403
    assert served.post("/job/none/crawl", ask="stop")[0] == 404
    assert served.ask("POST", path, "x" * 5000)[0] == 413
    assert store.wish("crawl") is None
    for what in ("retry-failed", "pause", "stop"):
        status, _, headers = served.post(path, ask=what)
        assert (status, headers["Location"]) == (303, path)
        found = asked_of(store, "crawl")
        assert found is not None
        assert found.ask == what
    served.post(path, ask="pause")
    served.post(path, ask="resume")
    assert store.wish("crawl") is None


def test_a_browser_that_goes_before_it_has_its_page_is_no_error(
    serve: Callable[..., Served], capsys: pytest.CaptureFixture[str]
) -> None:
    served = serve()

    def error(raised: Exception) -> str:
        try:
            raise raised
        except Exception:
            with socket.socket() as gone:
                served.server.handle_error(gone, ("127.0.0.1", 1))
        return capsys.readouterr().err

    assert not error(BrokenPipeError())
    assert "ZeroDivisionError" in error(ZeroDivisionError())


@pytest.mark.parametrize("path", ["/x", "/job", "/job/", "/job/a", "/job/a/b", "/job/a/%ff%00", "/../../etc/passwd"])
def test_what_is_not_there_is_not_found(path: str, serve: Callable[..., Served]) -> None:
    assert serve().get(path)[0] == 404


def test_a_damaged_checkpoint_is_shown_as_damaged(serve: Callable[..., Served]) -> None:
    path = crawl()
    (file,) = Path("ck").glob("*.json")
    file.write_bytes(file.read_bytes().replace(b"crawl", b"crawX"))

    status, page, _ = serve().get(path)
    assert status in (200, 404)
    status, page, _ = serve(FileStore("ck")).get("/")
    assert status == 200
    assert "damaged" in page


def test_a_checkpoint_made_by_hand_is_shown(serve: Callable[..., Served]) -> None:
    CheckpointManager("ck").create_checkpoint("hand", {"a": 1}, {"processed_items": 3})

    status, page, _ = serve(FileStore("ck")).get(path_for(str(Path("ck").absolute()), "hand"))

    assert status == 200
    assert "saved" in page


@pytest.mark.slow
def test_a_browser_shows_it_and_its_forms_work(serve: Callable[..., Served]) -> None:
    browsers = pytest.importorskip("playwright.sync_api")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("needs Chromium")
    crawl(HOSTILE)
    served = serve(allows_control=True)
    with browsers.sync_playwright() as player:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        page = browser.new_page(viewport={"width": 400, "height": 800})
        said, logged = [], []
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("console", lambda message: logged.append(message.text))
        page.goto(f"http://127.0.0.1:{served.port}/?token={served.site.token}")
        page.click("td a")
        title = page.title()
        page.click("text=Try failed items again")
        page.wait_for_load_state()
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        browser.close()

    assert title.startswith("</td><script>")
    assert list(Path("ck").glob("*.ask"))
    assert (said, overflow) == ([], 0)
    assert [text for text in logged if "favicon" not in text and "404" not in text] == []
