"""The report: what it tells, that it needs nothing else, and that whatever a checkpoint holds is text in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointManager,
    CheckpointNotFoundError,
    SaveStrategy,
    auto,
    checkpointed,
    every,
    rate_limit_below,
)
from resumable._format.sections import Run
from resumable._report import places
from resumable._report.pages.charts import text, ticks, time_text, time_ticks
from resumable._report.pages.page import write_report
from resumable.stores import FileStore
from tests.support.crawled import HOSTILE, crawl


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(operation_id: str = "crawl") -> str:
    write_report(FileStore("ck"), operation_id, Path("run.html"))
    return Path("run.html").read_text()


def test_it_tells_of_items_stops_waits_costs_failures_and_settings() -> None:
    crawl()
    page = Page(page_of())

    for told in (
        "400 items in 22 min. 2 stops, marked by lines; the 20h00m in between are left out.",
        "Speed",
        "1 wait, shaded",
        "Time left",
        "Failed items",
        "argument repo",
        "ConnectionError",
        "Ctrl-C",
        "every 25 items",
        " s an item",
        "0 of 5,000 requests were left",
    ):
        assert told in page.text
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) >= 4
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (every(minutes=5) | every(items=1000), "every 5 min or every 1,000 items"),
        (every(items=1), "at each item"),
        (every(seconds=0.3), "every 0.3 s"),
        (every(hours=1) & rate_limit_below(0.2), "every 1h00m and once less than 20% of the quota is left"),
        (auto(), "auto: saves take 1.0% of the time, and are 5 min apart at most"),
    ],
)
def test_settings_say_when_it_saves(strategy: SaveStrategy, told: str) -> None:
    with checkpointed("crawl", strategy, store="ck", auto_cleanup=False) as cp:
        cp.tick()
        cp.save()

    assert told in Page(page_of()).text


def test_it_is_one_file_without_script_or_network() -> None:
    crawl()
    written = page_of()
    page = Page(written)

    assert {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object"} == set()
    assert not [
        name for _, attributes in page.tags for name in attributes if name in ("src", "href") or name[:2] == "on"
    ]
    assert "url(" not in written
    assert "@import" not in written
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_whatever_it_holds_is_text() -> None:
    crawl(HOSTILE)
    page = Page(page_of(HOSTILE))

    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert(1)</script>") >= 4
    assert "\x1b" not in page.text
    assert text("a\u202eb\ud800<") == "a\\u202eb\\ud800&lt;"


def test_a_checkpoint_that_was_made_by_hand_has_a_report() -> None:
    CheckpointManager("ck").create_checkpoint("hand", {"a": 1}, {"processed_items": 3})

    assert "The report has charts once" in page_of("hand")


def test_axes_have_round_numbers() -> None:
    assert ticks(26_000) == [0, 10_000, 20_000, 30_000]
    assert ticks(0) == [0, 1]
    assert ticks(float("inf")) == [0, 1]
    assert [time_text(step) for step in time_ticks(17_000)] == ["0", "1 h", "2 h", "3 h", "4 h"]
    assert [time_text(step) for step in time_ticks(7)] == ["0", "2 s", "4 s", "6 s"]
    assert len(time_ticks(1e12)) <= 6


def test_cp_report_saves_first_and_writes_what_is_done() -> None:
    with checkpointed("job", every(hours=1)) as cp:
        for number in cp.remaining(range(10)):
            if number == 7:
                cp.report("run.html")

    assert "7 of 10" in Path("run.html").read_text()
    assert "Report" in Path("run.html").read_text()
    assert ">still running<" in Path("run.html").read_text()
    assert ">a kill<" not in Path("run.html").read_text()


def test_a_run_that_was_killed_before_its_first_save_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of runs above counts it, too."""
    monkeypatch.setenv(places.VARIABLE, str(Path("index").absolute()))
    crawl()
    store = FileStore("ck")
    home, place = places.directory(), places.place_of(store)
    assert home is not None
    assert place is not None
    cut_off = [Run(run=4, began="2027-01-03T00:00:00+00:00", items_before=400)]
    pulse = places.Pulse("crawl", place, "a", 1, 4, at=2e9, since=2e9, items=400, unsaved=cut_off)
    places.write(places.pulse_path(home, place, "crawl"), pulse)

    rows = re.findall(r"<tr>.*?</tr>", page_of().partition("<h2>Runs</h2>")[2])
    assert [re.findall(r"<td.*?>(.*?)</td>", row)[:5:4] for row in rows[1:3]] == [["4", "a kill"], ["3", "incomplete"]]


async def test_an_async_block_reports_its_last_save() -> None:
    async with checkpointed("job", every(hours=1)) as cp:
        with pytest.raises(CheckpointNotFoundError):
            cp.report("run.html")
        async for number in cp.remaining(range(10)):
            if number == 7:
                await cp.save()
                cp.report("run.html")

    assert "7 of 10" in Path("run.html").read_text()


def test_a_report_that_cannot_be_written_leaves_what_was_there() -> None:
    Path("dir").mkdir()
    with checkpointed("job") as cp, pytest.raises(OSError, match="dir"):
        cp.report("dir")
    assert Path("dir").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_at_any_width(width: int, scheme: Any, here: Path) -> None:
    browsers = pytest.importorskip("playwright.sync_api")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("needs Chromium")
    crawl(HOSTILE)
    page_of(HOSTILE)
    with browsers.sync_playwright() as player:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto((here / "run.html").as_uri())
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        shown = page.evaluate(
            "[...document.querySelectorAll('svg .line')].map(each => each.getBoundingClientRect().width)"
        )
        browser.close()

    assert overflow <= 0
    assert min(shown) > width / 3
    assert (len(asked), said) == (1, [])


def test_its_colours_have_contrast() -> None:
    from resumable._report.pages.style import STYLE

    def luminance(colour: str) -> float:
        full = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
        parts = [int(full[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for root in re.findall(r":root\{(.*?)\}", STYLE, re.DOTALL)[:2]:
        colours = dict(re.findall(r"--(\w+):#(\w+)", root))
        for name in ("text", "dim", "main", "second", "warn", "good", "bad"):
            light, dark = sorted((luminance(colours[name]), luminance(colours["back"])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name
