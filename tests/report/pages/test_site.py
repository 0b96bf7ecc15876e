"""The pages of ``resumable serve``: whatever jobs hold is text, and each job has a path of its own."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from resumable import checkpointed
from resumable._report.live import Live, live_of
from resumable._report.pages.site import jobs_page, path_for
from resumable.stores import FileStore
from tests.support.blocks import Stop, stopped

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\"'&/../%2e"


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def jobs(tmp_path: Path) -> list[tuple[str, Live]]:
    store = FileStore(tmp_path)
    for name in ("crawl", HOSTILE):
        with stopped(), checkpointed(name, store=store) as cp:
            for number in cp.remaining(range(4)):
                if number == 1:
                    raise Stop
    found = [(HOSTILE, live_of(store, name)) for name in ("crawl", HOSTILE)]
    return [(place, one) for place, one in found if one is not None]


def test_jobs_are_shown_with_a_link_each(jobs: list[tuple[str, Live]]) -> None:
    page = Page(jobs_page(jobs, "Jobs", [("sqlite:///gone.db", "it does not answer")]))

    assert "crawl" in page.text
    assert "1/4" in page.text
    assert "it does not answer" in page.text
    assert [link for link in page.links if link and link.startswith("/job/")] == [
        path_for(HOSTILE, name) for name in ("crawl", HOSTILE)
    ]


def test_nothing_of_a_job_becomes_a_tag(jobs: list[tuple[str, Live]]) -> None:
    page = Page(jobs_page(jobs, HOSTILE))

    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_no_two_jobs_share_a_path() -> None:
    named = [("here", "a/b"), ("here", "a%2Fb"), ("here", ".."), ("there", "a/b")]
    paths = {path_for(place, name) for place, name in named}

    assert len(paths) == len(named)
    assert all(path.count("/") == 3 for path in paths)


def test_without_jobs_it_says_so() -> None:
    assert "There are no checkpoints." in Page(jobs_page([], "Jobs")).text
