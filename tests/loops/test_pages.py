"""Pages go on where they were: no item is lost or given twice, and changes are reported."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resumable import (
    CursorExpiredError,
    RateLimitExhausted,
    StateEncodeError,
    checkpointed,
    every,
)
from resumable._loops.pages import next_link
from tests.support.pages import Died, Gone, Server, is_left, place, run

BY_VALUE_AND_BY_KEY = pytest.mark.parametrize("key", [None, "id"], ids=["by value", "by key"])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -- where it goes on -------------------------------------------------------------------------------------------------


@BY_VALUE_AND_BY_KEY
def test_all_items_come_one_by_one_and_then_the_checkpoint_is_gone(key: str | None) -> None:
    server = Server()

    assert run(server, key=key) == list(range(10))
    assert server.asked == [None, 3, 6, 9]
    assert not is_left()


@BY_VALUE_AND_BY_KEY
@pytest.mark.parametrize("at", range(10))
def test_it_goes_on_at_the_item_where_it_died(key: str | None, at: int) -> None:
    server = Server()
    run(server, at, key=key)
    server.asked.clear()

    assert run(server, key=key) == list(range(at, 10))
    assert server.asked[0] == (at // 3 * 3 or None)


@BY_VALUE_AND_BY_KEY
def test_it_may_die_at_every_item_one_after_the_other(key: str | None) -> None:
    server = Server()
    begun = [run(server, at, key=key) for at in range(10)]

    assert begun == [[0], *([at - 1, at] for at in range(1, 10))]
    assert run(server, key=key) == [9]


def test_an_error_of_fetch_loses_nothing_and_is_not_changed() -> None:
    server = Server()
    server.gone = {6}

    with pytest.raises(Gone, match="410"):
        run(server)
    assert place()["position"] == 6
    server.gone.clear()
    server.asked.remove(6)
    assert run(server) == [6, 7, 8, 9]
    assert server.asked == [None, 3, 6, 9]


def test_the_next_page_is_asked_for_when_the_last_item_of_this_one_is_done() -> None:
    """Else a page could expire, or its quota be spent, long before it is needed."""
    server = Server()
    with checkpointed("crawl", store="ck") as cp:
        for item in cp.pages(server.fetch):
            assert len(server.asked) == item["id"] // 3 + 1


def test_a_loop_that_is_left_by_break_keeps_its_place() -> None:
    server = Server()
    with checkpointed("crawl", store="ck") as cp:
        for item in cp.pages(server.fetch):
            if item["id"] == 4:
                break

    assert is_left()
    assert run(server) == [4, 5, 6, 7, 8, 9]


def test_pages_may_be_empty() -> None:
    pages = {None: ([], "b"), "b": ([{"id": 1}], "c"), "c": ([], "d"), "d": ([], None)}
    with checkpointed("crawl", store="ck") as cp:
        assert [item["id"] for item in cp.pages(pages.__getitem__)] == [1]
    with checkpointed("crawl", store="ck") as cp:
        assert list(cp.pages(lambda cursor: ([], None))) == []


def test_an_empty_cursor_ends_it_as_none_does() -> None:
    """Several APIs say so, and a page without a cursor would be the first one again."""
    with checkpointed("crawl", store="ck") as cp:
        assert list(cp.pages(lambda cursor: ([1], ""))) == [1]


def test_a_finished_loop_is_not_fetched_again_when_the_block_goes_on() -> None:
    server, first = Server(), [0]
    for ends in (False, True):
        with suppress(Died), checkpointed("crawl", store="ck") as cp:
            first = [item["id"] for item in cp.pages(server.fetch)]
            if not ends:
                raise Died
    assert first == []
    assert server.asked == [None, 3, 6, 9]


def test_many_finished_loops_at_one_place_are_not_fetched_again() -> None:
    server, given = Server(3), [1]
    for ends in (False, True):
        with suppress(Died), checkpointed("crawl", store="ck") as cp:
            given = [len(list(cp.pages(server.fetch))) for _ in range(9)]
            if not ends:
                raise Died
    assert given == [0] * 9
    assert len(server.asked) == 9


# -- what goes with it ------------------------------------------------------------------------------------------------


@BY_VALUE_AND_BY_KEY
def test_what_an_unfinished_item_wrote_does_not_count(key: str | None) -> None:
    server = Server()
    for at in (1, 4, 5, None):
        with suppress(Died), checkpointed("crawl", store="ck") as cp:
            log = cp.log("log")
            for item in cp.pages(server.fetch, key=key):
                log.append(item["id"])
                cp.save()
                if item["id"] == at:
                    raise Died
            assert log == list(range(10))


@BY_VALUE_AND_BY_KEY
def test_a_loop_within_an_item_belongs_to_it(key: str | None) -> None:
    server, begun = Server(), []
    for at in ((4, 1), (5, 0), None):
        with suppress(Died), checkpointed("crawl", store="ck") as cp:
            for item in cp.pages(server.fetch, key=key):
                for part in cp.remaining(range(3)):
                    if (item["id"], part) == at:
                        raise Died
                    begun.append((item["id"], part))
    assert begun == [(number, part) for number in range(10) for part in range(3)]


def test_pages_within_an_item_belong_to_it() -> None:
    servers = {"a": Server(4), "b": Server(5)}
    begun: list[tuple[str, int]] = []
    for at in (2, 3, 7, None):
        with suppress(Died), checkpointed("crawl", store="ck") as cp:
            for name in cp.remaining(list(servers)):
                for item in cp.pages(servers[name].fetch):
                    if len(begun) == at:
                        raise Died
                    begun.append((name, item["id"]))
    assert begun == [("a", 0), ("a", 1), ("a", 2), ("a", 3), *(("b", number) for number in range(5))]


def test_two_loops_are_told_apart_by_their_place() -> None:
    server = Server(4)
    other = Server(4)
    other.items = [{"id": number + 100} for number in range(4)]
    begun: list[int] = []
    for at in (2, 101, None):
        with suppress(Died), checkpointed("crawl", store="ck") as cp:
            for item in cp.pages(server.fetch):
                if item["id"] == at:
                    raise Died
                begun.append(item["id"])
            for item in cp.pages(other.fetch):
                if item["id"] == at:
                    raise Died
                begun.append(item["id"])
    assert begun == [0, 1, 2, 3, 100, 101, 102, 103]


def test_the_total_is_unknown_until_the_end() -> None:
    seen = []
    with checkpointed("crawl", store="ck", progress=seen.append, auto_cleanup=False) as cp:
        for _ in cp.pages(Server().fetch):
            assert cp.metadata.total_items is None
    assert (cp.metadata.processed_items, seen[-1].total) == (10, None)


def test_a_retry_goes_on_where_the_attempt_before_left_it() -> None:
    import tenacity

    server, begun = Server(), []
    with checkpointed("crawl", store="ck") as cp:
        for attempt in cp.retrying(wait=tenacity.wait_none()):
            with attempt:
                for item in cp.pages(server.fetch):
                    begun.append(item["id"])
                    if len(begun) == 5:
                        raise ConnectionError
    assert begun == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]


# -- an expired cursor ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_cursor_that_the_server_refuses_after_a_resume_is_told(status: int) -> None:
    server = Server()
    run(server, 4)

    def fetch(cursor: Any) -> Any:
        raise Gone(status)

    with pytest.raises(CursorExpiredError, match="cursor 3") as caught, checkpointed("crawl", store="ck") as cp:
        list(cp.pages(fetch))
    assert isinstance(caught.value.__context__, Gone)
    assert any("resumable rm" in way for way in caught.value.ways_out)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert run(server) == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_another_refusal_is_no_expired_cursor(status: int) -> None:
    run(Server(), 4)

    def fetch(cursor: Any) -> Any:
        raise Gone(status)

    with pytest.raises(Gone), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(fetch))


def test_a_refusal_within_a_run_is_the_users_own_error() -> None:
    server = Server()
    server.gone = {6}

    with pytest.raises(Gone):
        run(server)


def test_fetch_may_say_so_itself() -> None:
    def fetch(cursor: Any) -> Any:
        if cursor == "b":
            raise CursorExpiredError("INVALID_CURSOR")
        return [1], "b"

    with pytest.raises(CursorExpiredError, match="INVALID_CURSOR") as caught, checkpointed("crawl", store="ck") as cp:
        list(cp.pages(fetch))
    assert caught.value.operation_id == "crawl"


@pytest.mark.parametrize(
    ("key", "rest"),
    [("id", [4, 5, 6, 7, 8, 9]), (None, list(range(10)))],
    ids=["by key what is done is left out", "by value all is done again"],
)
def test_all_pages_can_be_gone_through_again(key: str | None, rest: list[int]) -> None:
    server = Server()
    run(server, 4, key=key)
    server.gone = {3}
    fetch, asked = server.fetch, server.asked

    def fetch_once_gone(cursor: Any) -> Any:
        try:
            return fetch(cursor)
        finally:
            server.gone.clear()

    server.fetch = fetch_once_gone  # type: ignore[method-assign]
    asked.clear()

    assert run(server, key=key, changed="again") == rest
    assert asked == [3, None, 3, 6, 9]


def test_a_cursor_that_expires_again_and_again_is_told() -> None:
    server = Server()
    run(server, 4, key="id")

    def fetch(cursor: Any) -> Any:
        if cursor == 3:
            raise CursorExpiredError
        return server.fetch(cursor)

    with pytest.raises(CursorExpiredError), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(fetch, key="id", changed="again"))


def test_the_way_out_is_taken_by_the_loop_that_is_meant() -> None:
    """To take it, its line is edited, and so may be those of the loops beside it."""
    first, second = Server(), Server()
    second.items = [{"id": 100 + number} for number in range(10)]
    names: dict[str, Any] = {"checkpointed": checkpointed, "first": first, "second": second, "begun": []}
    block = """
with checkpointed("crawl", store="ck") as cp:
    for item in cp.pages(first.fetch, key="id"):
        begun.append(item["id"])
    for item in cp.pages(second.fetch, key="id"):
        if item["id"] == 105 and len(begun) < 20:
            raise KeyError
        begun.append(item["id"])
"""
    with suppress(KeyError):
        exec(block, names)
    names["begun"].extend([0] * 10)
    exec(block.replace('key="id"', 'key="id", changed="again"'), names)

    assert names["begun"] == [*range(10), *range(100, 105), *[0] * 10, *range(105, 110)]


@BY_VALUE_AND_BY_KEY
def test_an_interpreter_without_a_gil_goes_on_as_well(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resumable._loops.pages.has_gil", lambda: False)
    server = Server()
    begun = [run(server, at, key=key) for at in range(10)]

    assert begun == [[0], *([at - 1, at] for at in range(1, 10))]


# -- responses --------------------------------------------------------------------------------------------------------


def response(content: Any, link: str = "", status: int = 200, headers: Mapping[str, str] | None = None) -> Any:
    import httpx

    headers = {**(headers or {}), **({"Link": link} if link else {})}
    request = httpx.Request("GET", "http://api.test/items?page=1")
    return httpx.Response(status, json=content, headers=headers, request=request)


def test_a_response_leads_on_by_its_link_header() -> None:
    asked = []

    def fetch(url: str) -> Any:
        asked.append(url)
        return response([1, 2], '<?page=2>; rel="next", <?page=9>; rel="last"') if "page=1" in url else response([3])

    with checkpointed("crawl", store="ck") as cp:
        assert list(cp.pages(fetch, start="http://api.test/items?page=1")) == [1, 2, 3]
    assert asked == ["http://api.test/items?page=1", "http://api.test/items?page=2"]


@pytest.mark.parametrize(
    "items", ["found", lambda response: response.json()["found"]], ids=["name of a field", "function"]
)
def test_items_say_where_they_are_in_a_response(items: Any) -> None:
    with checkpointed("crawl", store="ck") as cp:
        assert list(cp.pages(lambda cursor: response({"found": [1, 2]}), items=items)) == [1, 2]


def test_json_that_is_no_list_needs_items() -> None:
    with pytest.raises(TypeError, match="items="), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(lambda cursor: response({"found": [1, 2]})))


def test_null_is_no_items_where_the_field_is_there() -> None:
    with checkpointed("crawl", store="ck") as cp:
        assert list(cp.pages(lambda cursor: response({"found": None}), items="found")) == []


@pytest.mark.parametrize("content", [{"other": [1]}, [1]], ids=repr)
def test_a_field_that_is_missing_is_told(content: Any) -> None:
    with pytest.raises(TypeError, match="no field 'found'"), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(lambda cursor: response(content), items="found"))


def test_a_response_may_come_with_a_cursor() -> None:
    def fetch(cursor: int | None) -> Any:
        return response([cursor or 0], headers={"X-RateLimit-Remaining": "5", "X-RateLimit-Limit": "9"}), (
            None if cursor == 2 else (cursor or 0) + 1
        )

    with checkpointed("crawl", store="ck") as cp:
        assert list(cp.pages(fetch)) == [0, 1, 2]
        assert cp.metadata.rate_limit_remaining == 5


def test_a_response_with_an_error_is_no_page() -> None:
    import httpx

    with pytest.raises(httpx.HTTPStatusError), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(lambda cursor: response({"message": "Not Found"}, status=404)))


@pytest.mark.parametrize(
    "answer", [None, [1, 2], ("abc", None), (None, None), {"items": []}, ({"a": 1}, None)], ids=repr
)
def test_what_is_no_page_is_refused(answer: Any) -> None:
    with pytest.raises(TypeError), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(lambda cursor: answer))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ('<http://a/2>; rel="next"', "http://a/2"),
        ("<http://a/2>;rel=next", "http://a/2"),
        ('<http://a/1>; rel="prev", <http://a/3>; rel="next"', "http://a/3"),
        ('<http://a/2?q=1,2;3>; title="a, <b>; rel=x"; rel="next last"', "http://a/2?q=1,2;3"),
        ("</items?after=x>; REL=Next", "http://api.test/items?after=x"),
        ('<http://a/2>; rel="nextish"', None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_link_headers_are_read(link: str, target: str | None) -> None:
    assert next_link(response([], link)) == target


# -- the quota --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_used_up_quota_is_waited_for_before_the_next_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    def fetch(cursor: int | None) -> Any:
        number = cursor or 0
        log.append(f"fetch {number}")
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "9", "X-RateLimit-Reset": str(time.time() + 1.5)}
        return response([number], headers=headers), number + 1 if number < 1 else None

    began = time.monotonic()
    with checkpointed("crawl", store="ck") as cp:
        for _ in cp.pages(fetch):
            pass
    assert log == ["fetch 0", "fetch 1"]
    assert time.monotonic() - began > 1


def test_the_items_of_the_last_page_wait_for_nothing() -> None:
    """No request follows; where the items send some, and the program observes them, the loop waits as others do."""
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "9", "X-RateLimit-Reset": str(time.time() + 3600)}
    with checkpointed("crawl", store="ck", on_exhausted="raise") as cp:
        assert list(cp.pages(lambda cursor: response([1, 2], headers=spent))) == [1, 2]

    begun = []
    with suppress(RateLimitExhausted), checkpointed("crawl", store="ck", on_exhausted="raise") as cp:
        for item in cp.pages(lambda cursor: response([1, 2])):
            begun.append(item)
            cp.observe(spent)
    assert begun == [1]


def test_what_a_fetch_observes_itself_is_no_request_of_an_item() -> None:
    """The last page uses up the quota: its items wait for nothing."""
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "9", "X-RateLimit-Reset": str(time.time() + 3600)}
    with checkpointed("crawl", store="ck", on_exhausted="raise") as cp:

        def fetch(cursor: object) -> tuple[list[int], None]:
            cp.observe(spent)  # as a client's hook does
            return [1, 2], None

        assert list(cp.pages(fetch)) == [1, 2]


async def test_what_an_async_fetch_observes_itself_is_no_request_of_an_item() -> None:
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "9", "X-RateLimit-Reset": str(time.time() + 3600)}
    async with checkpointed("crawl", store="ck", on_exhausted="raise") as cp:

        async def fetch(cursor: object) -> tuple[list[int], None]:
            await asyncio.sleep(0)
            cp.observe(spent)
            return [1, 2], None

        assert [item async for item in cp.pages(fetch)] == [1, 2]


def test_an_error_of_a_client_without_raise_for_status_is_an_error_with_the_status() -> None:
    answer = SimpleNamespace(status=502, headers={})
    with pytest.raises(RuntimeError, match="status 502"), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(lambda cursor: answer))


THROTTLED = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}], "retry_after": 0.1}


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param({"content": {}, "status": 429, "headers": {"Retry-After": "1"}}, id="429"),
        pytest.param({"content": THROTTLED}, id="GraphQL"),
    ],
)
@pytest.mark.slow
def test_a_refused_page_is_asked_for_again_once_there_is_quota(refusal: dict[str, Any]) -> None:
    answers = iter([response(**refusal), response({"found": [1, 2]})])
    with checkpointed("crawl", store="ck") as cp:
        assert list(cp.pages(lambda cursor: next(answers), items="found")) == [1, 2]


# -- async ------------------------------------------------------------------------------------------------------------


def run_async(server: Server, dies_at: int | None = None, **options: Any) -> list[int]:
    begun = []

    async def fetch(cursor: Any) -> Any:
        await asyncio.sleep(0)
        return server.fetch(cursor)

    async def crawl() -> None:
        async with checkpointed("crawl", every(items=1), store="ck") as cp:
            async for item in cp.pages(fetch, **options):
                begun.append(item["id"])
                if item["id"] == dies_at:
                    raise Died

    with suppress(Died):
        asyncio.run(crawl())
    return begun


@BY_VALUE_AND_BY_KEY
@pytest.mark.parametrize("at", range(10))
def test_async_pages_go_on_where_they_were(key: str | None, at: int) -> None:
    server = Server()

    assert run_async(server, at, key=key) + run_async(server, key=key) == [*range(at + 1), *range(at, 10)]
    assert not is_left()


def test_async_pages_outlive_an_error_of_fetch() -> None:
    server, begun = Server(), []
    failures = iter([ConnectionError()])

    async def fetch(cursor: Any) -> Any:
        if cursor == 3:
            for failure in failures:
                raise failure
        return server.fetch(cursor)

    async def crawl() -> None:
        async with checkpointed("crawl", store="ck") as cp:
            pages = cp.pages(fetch)
            for _ in range(2):
                with suppress(ConnectionError):
                    async for item in pages:
                        begun.append(item["id"])

    asyncio.run(crawl())
    assert begun == list(range(10))


def test_async_responses_may_have_async_json() -> None:
    async def json_of(content: Any) -> Any:
        return content

    async def fetch(cursor: Any) -> Any:
        return SimpleNamespace(headers={}, status=200, json=lambda: json_of([1, 2]), url="http://a/")

    async def crawl() -> list[int]:
        async with checkpointed("crawl", store="ck") as cp:
            return [item async for item in cp.pages(fetch)]

    assert asyncio.run(crawl()) == [1, 2]


def test_an_async_fetch_needs_an_async_checkpoint() -> None:
    async def fetch(cursor: Any) -> Any:
        return [1], None

    with pytest.raises(TypeError, match="async checkpoint"), checkpointed("crawl", store="ck") as cp:
        list(cp.pages(fetch))


# -- arguments and forms ----------------------------------------------------------------------------------------------


def test_wrong_arguments_are_refused_at_once() -> None:
    with checkpointed("crawl", store="ck") as cp:
        with pytest.raises(TypeError, match="a function that fetches"):
            cp.pages([1])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="changed must be"):
            cp.pages(lambda cursor: ([], None), changed="often")  # type: ignore[arg-type]
        with pytest.raises(StateEncodeError):
            cp.pages(lambda cursor: ([], None), start=object())
