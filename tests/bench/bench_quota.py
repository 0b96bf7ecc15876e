"""Every file of a repository through a short rate limit, by five clients: ``python -m tests.bench.bench_quota [N]``.

The least time possible is requests / limit windows. Refused: answers 403 or 429. Nothing may be lost or repeated.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from resumable import AsyncCheckpoint, Checkpoint, checkpointed
from resumable.ratelimit import hooks
from tests.support.servers import ServerProcess, git, make_repository

REPO = "owner/name"
LIMIT, WINDOW = 400, 3.0


def with_httpx(base: str, paths: list[str], cp: Checkpoint, files: dict[str, object]) -> None:
    import httpx

    with hooks(httpx.Client(base_url=base)) as client:
        for path in cp.remaining(paths):
            files[path] = client.get(f"/repos/{REPO}/contents/{quote(path)}").raise_for_status().json()["sha"]


def with_requests(base: str, paths: list[str], cp: Checkpoint, files: dict[str, object]) -> None:
    import requests

    with hooks(requests.Session()) as session:
        for path in cp.remaining(paths):
            response = session.get(f"{base}/repos/{REPO}/contents/{quote(path)}")
            response.raise_for_status()
            files[path] = response.json()["sha"]


def with_pygithub(base: str, paths: list[str], cp: Checkpoint, files: dict[str, object]) -> None:
    import github

    client = hooks(github.Github(base_url=base, lazy=True, retry=None, seconds_between_requests=None))
    repo = client.get_repo(REPO)
    for path in cp.remaining(paths):
        content = repo.get_contents(path)
        assert not isinstance(content, list)
        files[path] = content.sha
    client.close()


def with_githubkit(base: str, paths: list[str], cp: Checkpoint, files: dict[str, object]) -> None:
    import githubkit

    owner, name = REPO.split("/")
    with hooks(githubkit.GitHub(base_url=base, auto_retry=False, http_cache=False)) as client:
        for path in cp.remaining(paths):
            files[path] = client.rest.repos.get_content(owner, name, path).json()["sha"]


async def with_aiohttp(base: str, paths: list[str], cp: AsyncCheckpoint, files: dict[str, object]) -> None:
    import aiohttp

    async with hooks(aiohttp.ClientSession()) as session:
        async for path in cp.remaining(paths):
            async with session.get(f"{base}/repos/{REPO}/contents/{quote(path)}") as response:
                response.raise_for_status()
                files[path] = (await response.json())["sha"]


def run(client: Callable[..., None], base: str, paths: list[str], store: Path) -> dict[str, object]:
    with checkpointed("fetch", store=store) as cp:
        files = cp.mapping("files")
        client(base, paths, cp, files)
        return dict(files)


async def run_async(
    client: Callable[..., Awaitable[None]], base: str, paths: list[str], store: Path
) -> dict[str, object]:
    async with checkpointed("fetch", store=store) as cp:
        files = cp.mapping("files")
        await client(base, paths, cp, files)
        return dict(files)


CLIENTS = {
    "httpx": with_httpx,
    "requests": with_requests,
    "aiohttp": with_aiohttp,
    "PyGithub": with_pygithub,
    "githubkit": with_githubkit,
}


def measure(
    name: str, repository: Path, paths: list[str], store: Path, limit: int = LIMIT, window: float = WINDOW
) -> dict[str, float]:
    """Fetch *paths* with one client; what it cost."""
    client = CLIENTS[name]
    with ServerProcess(repository, limit=limit, window=window) as server:
        time.sleep(-time.time() % window)  # the first window is a whole one, too
        began = time.monotonic()
        if asyncio.iscoroutinefunction(client):
            files = asyncio.run(run_async(client, server.url, paths, store))
        else:
            files = run(client, server.url, paths, store)
        seconds = time.monotonic() - began
        answers = [request for request in server.requests if "/contents/" in request[0]]
    good = [path for path, status, _ in answers if status == 200]
    least = (len(paths) - 1) // limit * window
    return {
        "lost": len(set(paths) - files.keys()),
        "repeated": len(good) - len(set(good)),
        "refused %": 100 * sum(status in (403, 429) for _, status, _ in answers) / len(answers),
        "seconds": seconds,
        "least": least,
        "ratio": seconds / least if least else float("nan"),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    with tempfile.TemporaryDirectory() as directory:
        repository = Path(directory) / "repository"
        make_repository(repository, files=count, commits=5)
        paths = paths_in(repository)[:count]
        print(f"{'client':>10} {'lost':>6} {'repeated':>9} {'refused %':>10} {'seconds':>8} {'least':>7} {'ratio':>6}")
        for name in CLIENTS:
            row = measure(name, repository, paths, Path(directory) / name)
            print(
                f"{name:>10} {row['lost']:>6.0f} {row['repeated']:>9.0f} {row['refused %']:>10.2f} "
                f"{row['seconds']:>8.1f} {row['least']:>7.1f} {row['ratio']:>6.2f}",
                flush=True,
            )


def paths_in(repository: Path) -> list[str]:
    """All files of the repository's head."""
    listed = git("ls-tree", "-r", "--name-only", "-z", "HEAD", cwd=repository).decode()
    return sorted(path for path in listed.split("\0") if path)


if __name__ == "__main__":
    main()
