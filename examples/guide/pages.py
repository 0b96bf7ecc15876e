"""Ready ``fetch`` functions for ``cp.pages``: GitHub's REST and GraphQL APIs, offset and limit, and ``since_id``.

    python -m examples.guide.pages prebid/Prebid.js --limit 300

prints the newest commits of a repository on GitHub. Stop it whenever you like, and run it again: it goes on with the
commit at which it was. Set ``GITHUB_TOKEN`` for more than 60 requests an hour.

Each function here takes an httpx client, and gives what ``cp.pages`` calls with a cursor. A requests session does as
well where the client is only asked to ``get``. Copy what you need.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from resumable import CursorExpiredError, checkpointed, every

Fetch = Callable[[Any], Any]


def github_rest(client: httpx.Client, url: str, **parameters: str | int) -> Fetch:
    """The pages of any list of GitHub's REST API. Each answer's ``Link`` header leads to the next one.

    The cursor is a URL. For lists in an object, as those of a search, say ``cp.pages(fetch, items="items")``. Items are
    told apart by ``key="id"``, or ``key="sha"``: newest first, they move to later pages while new ones come.
    """

    def fetch(cursor: str | None) -> httpx.Response:
        return client.get(cursor) if cursor else client.get(url, params={"per_page": 100, **parameters})

    return fetch


def github_graphql(client: httpx.Client, query: str, path: str, **variables: Any) -> Fetch:
    """The pages of a connection in GitHub's GraphQL API.

    Args:
        query: It takes ``$after: String``, and asks for ``nodes`` and ``pageInfo { endCursor hasNextPage }``. With
            ``rateLimit { limit remaining resetAt }`` beside them, the loop knows what is left of the quota.
        path: Where the connection is in ``data``: ``"repository.issues"``.
    """

    def fetch(cursor: str | None) -> tuple[list[Any], str | None]:
        answer = client.post("/graphql", json={"query": query, "variables": {**variables, "after": cursor}})
        answer.raise_for_status()
        content = answer.json()
        for error in content.get("errors") or ():
            if error.get("type") == "INVALID_CURSOR_ARGUMENTS":
                raise CursorExpiredError(error["message"])
            raise RuntimeError(error["message"])
        connection = content["data"]
        for step in path.split("."):
            connection = connection[step]
        page = connection["pageInfo"]
        return connection["nodes"], page["endCursor"] if page["hasNextPage"] else None

    return fetch


def offset_and_limit(client: httpx.Client, url: str, *, limit: int = 100, **parameters: str | int) -> Fetch:
    """Pages that are asked for by the number of their first item; one that is not full is the last.

    Give a key where items may be added meanwhile. Where they may be removed, the rest moves forward, and whatever
    moves over the edge of a page is never seen: such an API needs another way, as :func:`keyset`.
    """

    def fetch(offset: int | None) -> tuple[list[Any], int | None]:
        first = offset or 0
        answer = client.get(url, params={**parameters, "offset": first, "limit": limit})
        answer.raise_for_status()
        items = answer.json()
        return items, first + len(items) if len(items) == limit else None

    return fetch


def keyset(client: httpx.Client, url: str, *, limit: int = 100, **parameters: str | int) -> Fetch:
    """Pages that begin after the id of the last item: ``since_id``, ``since``, ``starting_after``, ``after``.

    Nothing moves when items come and go, and no cursor expires: the best of the four.
    """

    def fetch(since: int | None) -> tuple[list[Any], int | None]:
        answer = client.get(url, params={**parameters, "since_id": since or 0, "limit": limit})
        answer.raise_for_status()
        items = answer.json()
        return items, items[-1]["id"] if items else None

    return fetch


ISSUES: str = """
query($owner: String!, $name: String!, $after: String) {
  rateLimit { limit remaining resetAt }
  repository(owner: $owner, name: $name) {
    issues(first: 100, after: $after) { nodes { number title } pageInfo { endCursor hasNextPage } }
  }
}"""
"""For ``github_graphql(client, ISSUES, "repository.issues", owner=…, name=…)``."""


def print_commits(repository: str, limit: int, url: str, headers: Mapping[str, str]) -> None:
    """Print the newest commits, one after the other."""
    with (
        checkpointed(f"commits of {repository}", every(items=50)) as cp,
        httpx.Client(base_url=url, headers=dict(headers)) as client,
    ):
        for commit in cp.pages(github_rest(client, f"/repos/{repository}/commits"), key="sha"):
            if cp.processed_items == limit:
                cp.finalize()
                break
            print(commit["sha"][:10], commit["commit"]["message"].partition("\n")[0], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the newest commits of a repository on GitHub.")
    parser.add_argument("repository", help="owner/name")
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--url", default="https://api.github.com")
    arguments = parser.parse_args()
    token = os.environ.get("GITHUB_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    print_commits(arguments.repository, arguments.limit, arguments.url, headers)


if __name__ == "__main__":
    main()
