"""What the example server answers, asked by real clients."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import github
import httpx
import pytest
import requests

from examples.github_server import GitHubServer
from tests.support.servers import git, make_repository, read_files

REPO = "/repos/ada/engine"
ODD_FILES = {
    "a dir/ü #?%25&.txt": b"odd name",
    "binary": bytes(range(256)) * 300,
    "empty": b"",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("git") / "engine"
    links = {"link": "src/part0/file0.txt", "a dir/up": "../binary", "out": "../../elsewhere"}
    return make_repository(path, files=40, commits=210, extra=ODD_FILES, links=links)


@pytest.fixture
def server(repository: Path) -> Iterator[GitHubServer]:
    with GitHubServer(repository) as server:
        yield server


@pytest.fixture
def client(server: GitHubServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def test_tree_and_blobs_give_every_file(client: httpx.Client, repository: Path) -> None:
    tree = client.get(f"{REPO}/git/trees/main", params={"recursive": "1"}).json()

    fetched = {}
    for entry in tree["tree"]:
        if entry["type"] == "blob" and entry["mode"] != "120000":
            blob = client.get(entry["url"]).json()
            fetched[entry["path"]] = base64.b64decode(blob["content"])
            assert (blob["encoding"], blob["size"]) == ("base64", entry["size"])

    assert tree["truncated"] is False
    assert fetched == read_files(repository)


def test_a_tree_that_is_not_recursive_shows_one_level(client: httpx.Client) -> None:
    tree = client.get(f"{REPO}/git/trees/main").json()["tree"]

    assert [(entry["path"], entry["type"]) for entry in tree] == [
        ("a dir", "tree"),
        ("binary", "blob"),
        ("empty", "blob"),
        ("link", "blob"),
        ("out", "blob"),
        ("src", "tree"),
    ]


def test_contents_give_every_file_to_requests(server: GitHubServer, repository: Path) -> None:
    with requests.Session() as session:
        for path, content in read_files(repository).items():
            answer = session.get(f"{server.url}{REPO}/contents/{quote(path)}").json()
            assert (answer["type"], answer["path"], answer["size"]) == ("file", path, len(content))
            assert base64.b64decode(answer["content"]) == content


def test_contents_follow_the_ref(client: httpx.Client, repository: Path) -> None:
    first = git("rev-list", "--max-parents=0", "main", cwd=repository).decode().strip()

    then = client.get(f"{REPO}/contents/src/part1/file1.txt", params={"ref": first}).json()
    now = client.get(f"{REPO}/contents/src/part1/file1.txt").json()

    assert base64.b64decode(then["content"]) == read_files(repository, first)["src/part1/file1.txt"]
    assert then["sha"] != now["sha"]


def test_contents_of_a_directory_is_a_list(client: httpx.Client) -> None:
    part = client.get(f"{REPO}/contents/src/part3").json()
    root = client.get(f"{REPO}/contents/").json()

    assert [item["path"] for item in part] == [f"src/part3/file{n}.txt" for n in (13, 23, 3, 33)]
    assert {item["name"]: item["type"] for item in root}["src"] == "dir"


@pytest.mark.parametrize(
    ("link", "target"), [("link", "src/part0/file0.txt"), ("a dir/up", "binary")], ids=["below", "above"]
)
def test_a_link_to_a_file_gives_the_file(client: httpx.Client, link: str, target: str) -> None:
    contents = [client.get(f"{REPO}/contents/{quote(path)}").json()["content"] for path in (link, target)]

    assert contents[0] == contents[1]


def test_a_link_out_of_the_repository_is_never_followed(client: httpx.Client) -> None:
    answer = client.get(f"{REPO}/contents/out").json()

    assert (answer["type"], answer["target"]) == ("symlink", "../../elsewhere")
    assert "content" not in answer


def test_pages_of_commits_are_linked_to_the_last(client: httpx.Client, repository: Path) -> None:
    shas, pages, url = [], 0, f"{REPO}/commits?per_page=50"
    while url:
        response = client.get(url)
        shas += [commit["sha"] for commit in response.json()]
        pages, url = pages + 1, response.links.get("next", {}).get("url", "")

    assert shas == git("rev-list", "main", cwd=repository).decode().split()
    assert pages == 5


@pytest.mark.parametrize(
    ("page", "links"),
    [
        pytest.param(1, {"next": 2, "last": 5}, id="first"),
        pytest.param(3, {"prev": 2, "next": 4, "last": 5, "first": 1}, id="middle"),
        pytest.param(5, {"prev": 4, "first": 1}, id="last"),
    ],
)
def test_a_page_links_to_its_neighbours(client: httpx.Client, page: int, links: dict[str, int]) -> None:
    response = client.get(f"{REPO}/commits", params={"per_page": 50, "page": page})

    assert {rel: int(httpx.URL(link["url"]).params["page"]) for rel, link in response.links.items()} == links


def test_a_single_page_has_no_links(client: httpx.Client) -> None:
    response = client.get(f"{REPO}/commits", params={"path": "empty"})

    assert [commit["commit"]["message"] for commit in response.json()] == ["Add everything"]
    assert "Link" not in response.headers


@pytest.mark.parametrize("path", ["none.txt", "../engine", "/etc"])
def test_a_path_without_commits_gives_an_empty_page(client: httpx.Client, path: str) -> None:
    assert client.get(f"{REPO}/commits", params={"path": path}).json() == []


def test_a_commit_tells_what_it_changed(client: httpx.Client) -> None:
    commit = client.get(f"{REPO}/commits/main").json()

    assert commit["commit"]["message"] == "Change file 9\n\nChange 209."
    assert commit["commit"]["author"]["date"] == "2026-01-01T03:29:00Z"
    assert [(file["filename"], file["status"]) for file in commit["files"]] == [("src/part9/file9.txt", "modified")]
    assert commit["stats"] == {"total": 2, "additions": 1, "deletions": 1}


def test_a_merge_is_compared_with_its_first_parent(tmp_path: Path) -> None:
    path = make_repository(tmp_path / "merged", files=3, commits=2)
    head = "committer Ada <ada@example.com> 1767312000 +0000\ndata 1\nx\n"
    stream = (
        f"commit refs/heads/side\n{head}from refs/heads/main~1\nM 100644 inline side.txt\ndata 1\ns\n"
        f"commit refs/heads/main\n{head}from refs/heads/main^0\nmerge refs/heads/side\n"
        "M 100644 inline side.txt\ndata 1\ns\n"
    )
    git("fast-import", "--quiet", cwd=path, stdin=stream.encode())

    with GitHubServer(path) as server:
        merge = httpx.get(f"{server.url}{REPO}/commits/main").json()

    assert len(merge["parents"]) == 2
    assert [file["filename"] for file in merge["files"]] == ["side.txt"]


@pytest.mark.parametrize("prefix", ["", "/api/v3"])
def test_pygithub_reads_it_as_github(server: GitHubServer, repository: Path, prefix: str) -> None:
    with github.Github(base_url=server.url + prefix, retry=None, seconds_between_requests=None) as client:
        repo = client.get_repo("ada/engine")
        tree = repo.get_git_tree("main", recursive=True).tree
        commits = repo.get_commits()

        assert (repo.full_name, repo.default_branch) == ("ada/engine", "main")
        assert {e.path for e in tree if e.type == "blob" and e.mode != "120000"} == set(read_files(repository))
        for path, content in ODD_FILES.items():
            file = repo.get_contents(path)
            assert not isinstance(file, list)
            assert file.decoded_content == content
            assert base64.b64decode(repo.get_git_blob(file.sha).content) == content
        assert commits.totalCount == len(list(commits)) == 210
        assert repo.get_branch("main").commit.sha == commits[0].sha == repo.get_commit("main").sha
        assert client.get_rate_limit().rate.used == len(server.requests) - 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/nothing", 404, id="no endpoint"),
        pytest.param(f"{REPO}/contents/none.txt", 404, id="no file"),
        pytest.param(f"{REPO}/contents/empty?ref=none", 404, id="no ref"),
        pytest.param(f"{REPO}/git/trees/none", 404, id="no tree"),
        pytest.param(f"{REPO}/git/trees/main:src", 404, id="git's path syntax"),
        pytest.param(f"{REPO}/git/trees/x%0Amain", 404, id="two lines"),
        pytest.param(f"{REPO}/git/blobs/main", 404, id="a ref for a blob"),
        pytest.param(f"{REPO}/git/blobs/{'0' * 40}", 404, id="no blob"),
        pytest.param(f"{REPO}/branches/none", 404, id="no branch"),
        pytest.param(f"{REPO}/commits/none", 422, id="no commit"),
    ],
)
def test_what_is_not_there_is_said_as_github_says_it(client: httpx.Client, path: str, status: int) -> None:
    response = client.get(path)

    assert response.status_code == status
    assert set(response.json()) == {"message", "documentation_url"}
    assert client.get(f"{REPO}/commits/main").status_code == 200  # git was asked no second question


def test_many_threads_get_their_own_answers(server: GitHubServer, repository: Path) -> None:
    truth = read_files(repository)

    def fetch(path: str) -> bytes:
        answer = requests.get(f"{server.url}{REPO}/contents/{quote(path)}").json()
        return base64.b64decode(answer["content"])

    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(truth, pool.map(fetch, truth), strict=True)) == truth
    assert httpx.get(f"{server.url}/rate_limit").json()["rate"]["used"] == len(truth)
