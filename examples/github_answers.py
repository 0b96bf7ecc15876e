"""Answer in the form of GitHub's REST API, from a local git repository.

Every owner and name stands for this repository: a client needs only another base URL.
"""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

from examples.github_repository import Change, Commit, GitRepository, Person, TreeEntry

DOCUMENTATION = "https://docs.github.com/rest"
_ROUTE = re.compile(r"/repos/(?P<owner>[^/]+)/(?P<name>[^/]+)(?:/(?P<what>.+?))?/?")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SYMLINK = "120000"
_CONTENT_TYPES = {"blob": "file", "tree": "dir", "commit": "submodule"}


class Answer(NamedTuple):
    """A status, the content of the JSON body, and additional headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = MappingProxyType({})


def problem(status: int, message: str, page: str = "") -> Answer:
    """An error in the form of GitHub's."""
    return Answer(status, {"message": message, "documentation_url": DOCUMENTATION + page})


def find_answer(repository: GitRepository, base_url: str, path: str, query: Mapping[str, str]) -> Answer:
    """The answer to a GET of *path*, in GitHub's form. Its links begin with *base_url*."""
    route = _ROUTE.fullmatch(path)
    if route is None:
        return problem(404, "Not Found")
    repo = _Repo(repository, base_url, route["owner"], route["name"], query)
    what = route["what"] or ""
    for head, answer in _ENDPOINTS.items():
        if what == head or what.startswith(f"{head}/"):
            return answer(repo, unquote(what[len(head) + 1 :]))
    return problem(404, "Not Found")


@dataclass(frozen=True, slots=True)
class _Repo:
    """One request to one repository: where it reads, and how its links begin."""

    git: GitRepository
    base_url: str
    owner: str
    name: str
    query: Mapping[str, str]
    url: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", f"{self.base_url}/repos/{self.owner}/{self.name}")

    def number(self, name: str, default: int, most: int) -> int:
        """A number from the query, between 1 and *most*; *default* if it is not a number."""
        given = self.query.get(name, "")
        return min(max(int(given), 1), most) if given.isdecimal() else default


def _repository(repo: _Repo, rest: str) -> Answer:
    full_name = f"{unquote(repo.owner)}/{unquote(repo.name)}"
    owner = {
        "login": unquote(repo.owner),
        "id": 1,
        "type": "User",
        "url": f"{repo.base_url}/users/{repo.owner}",
    }
    body = {
        "id": 1,
        "name": unquote(repo.name),
        "full_name": full_name,
        "owner": owner,
        "private": False,
        "fork": False,
        "description": None,
        "url": repo.url,
        "html_url": repo.url,
        "default_branch": repo.git.default_branch,
        "trees_url": f"{repo.url}/git/trees{{/sha}}",
        "blobs_url": f"{repo.url}/git/blobs{{/sha}}",
        "commits_url": f"{repo.url}/commits{{/sha}}",
        "contents_url": f"{repo.url}/contents/{{+path}}",
        "branches_url": f"{repo.url}/branches{{/branch}}",
    }
    return Answer(200, body)


def _tree(repo: _Repo, name: str) -> Answer:
    sha = repo.git.tree_sha(name)
    if sha is None:
        return problem(404, "Not Found", "/git/trees#get-a-tree")
    # GitHub takes any value of the parameter for a yes, "0" too.
    entries = repo.git.tree(sha, recursive="recursive" in repo.query).values()
    tree = [_tree_item(repo, entry) for entry in entries]
    return Answer(200, {"sha": sha, "url": f"{repo.url}/git/trees/{sha}", "tree": tree, "truncated": False})


def _tree_item(repo: _Repo, entry: TreeEntry) -> dict[str, Any]:
    item: dict[str, Any] = {"path": entry.path, "mode": entry.mode, "type": entry.kind, "sha": entry.sha}
    if entry.size is not None:
        item["size"] = entry.size
    if entry.kind != "commit":
        item["url"] = f"{repo.url}/git/{entry.kind}s/{entry.sha}"
    return item


def _blob(repo: _Repo, sha: str) -> Answer:
    found = repo.git.read(sha) if _SHA.fullmatch(sha) else None
    if found is None or found.kind != "blob":
        return problem(404, "Not Found", "/git/blobs#get-a-blob")
    body = {
        "sha": found.sha,
        "node_id": found.sha,
        "size": len(found.content),
        "url": f"{repo.url}/git/blobs/{found.sha}",
        "content": base64.encodebytes(found.content).decode(),
        "encoding": "base64",
    }
    return Answer(200, body)


def _contents(repo: _Repo, path: str) -> Answer:
    ref = repo.query.get("ref") or repo.git.default_branch
    root = repo.git.tree_sha(ref)
    if root is None:
        return problem(404, f"No commit found for the ref {ref}", "/repos/contents#get-repository-content")
    entries = repo.git.tree(root, recursive=True)
    path = path.strip("/")
    entry = _followed(repo.git, entries, path) if path else TreeEntry("", "040000", "tree", root, None)
    if entry is None:
        return problem(404, "Not Found", "/repos/contents#get-repository-content")
    if entry.kind == "tree":
        inside = repo.git.tree(entry.sha, recursive=False).values()
        return Answer(200, [_content(repo, ref, item, posixpath.join(path, item.path)) for item in inside])
    return Answer(200, _content(repo, ref, entry, path) | _content_body(repo.git, entry))


def _followed(git: GitRepository, entries: Mapping[str, TreeEntry], path: str) -> TreeEntry | None:
    """The entry at *path*; for a link to a file of the repository, that file, as GitHub does."""
    entry = entries.get(path)
    if entry is None or entry.mode != _SYMLINK:
        return entry
    target = entries.get(posixpath.normpath(posixpath.join(posixpath.dirname(path), _link_target(git, entry))))
    return target if target is not None and target.kind == "blob" and target.mode != _SYMLINK else entry


def _link_target(git: GitRepository, entry: TreeEntry) -> str:
    found = git.read(entry.sha)
    return found.content.decode(errors="replace") if found else ""


def _content(repo: _Repo, ref: str, entry: TreeEntry, path: str) -> dict[str, Any]:
    url = f"{repo.url}/contents/{quote(path)}?{urlencode({'ref': ref})}"
    git_url = None if entry.kind == "commit" else f"{repo.url}/git/{entry.kind}s/{entry.sha}"
    return {
        "type": "symlink" if entry.mode == _SYMLINK else _CONTENT_TYPES[entry.kind],
        "name": posixpath.basename(path),
        "path": path,
        "sha": entry.sha,
        "size": entry.size or 0,
        "url": url,
        "html_url": url,
        "git_url": git_url,
        "download_url": None,
        "_links": {"self": url, "git": git_url, "html": url},
    }


def _content_body(git: GitRepository, entry: TreeEntry) -> dict[str, Any]:
    """The fields that a single file, link or submodule has in addition to its line in a directory."""
    if entry.kind == "commit":
        return {"submodule_git_url": ""}
    if entry.mode == _SYMLINK:
        return {"target": _link_target(git, entry)}
    found = git.read(entry.sha)
    content = base64.encodebytes(found.content).decode() if found else ""
    return {"encoding": "base64", "content": content}


def _commits(repo: _Repo, name: str) -> Answer:
    return _single_commit(repo, name) if name else _commit_page(repo)


def _single_commit(repo: _Repo, name: str) -> Answer:
    commit = repo.git.commit(name)
    if commit is None:
        return problem(422, f"No commit found for SHA: {name}", "/commits/commits#get-a-commit")
    changes = repo.git.changes(commit)
    added, deleted = sum(c.additions for c in changes), sum(c.deletions for c in changes)
    more = {
        "stats": {"total": added + deleted, "additions": added, "deletions": deleted},
        "files": [_file(repo, commit, change) for change in changes],
    }
    return Answer(200, _commit(repo, commit) | more)


def _commit_page(repo: _Repo) -> Answer:
    start = repo.git.commit(repo.query.get("sha") or repo.git.default_branch)
    if start is None:
        return problem(404, "Not Found", "/commits/commits#list-commits")
    shas = repo.git.commit_shas(start.sha, repo.query.get("path", ""))
    size, page = repo.number("per_page", 30, 100), repo.number("page", 1, 10**9)
    commits = map(repo.git.commit, shas[(page - 1) * size : page * size])
    body = [_commit(repo, commit) for commit in commits if commit is not None]
    return Answer(200, body, _links(repo, page, last=-(-len(shas) // size) or 1))


def _links(repo: _Repo, page: int, last: int) -> dict[str, str]:
    """The ``Link`` header: empty if there is one page only."""
    pages = {"prev": min(page - 1, last), "next": page + 1, "last": last, "first": 1}
    shown = ["next", "last"] if page < last else []
    shown += ["prev", "first"] if page > 1 else []
    links = [f'<{repo.url}/commits?{urlencode({**repo.query, "page": pages[rel]})}>; rel="{rel}"' for rel in shown]
    return {"Link": ", ".join(links)} if links else {}


def _commit(repo: _Repo, commit: Commit) -> dict[str, Any]:
    url = f"{repo.url}/commits/{commit.sha}"
    return {
        "sha": commit.sha,
        "node_id": commit.sha,
        "commit": {
            "author": _person(commit.author),
            "committer": _person(commit.committer),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": f"{repo.url}/git/trees/{commit.tree}"},
            "url": f"{repo.url}/git/commits/{commit.sha}",
            "comment_count": 0,
        },
        "url": url,
        "html_url": url,
        "comments_url": f"{url}/comments",
        "author": None,
        "committer": None,
        "parents": [{"sha": sha, "url": f"{repo.url}/commits/{sha}"} for sha in commit.parents],
    }


def _person(person: Person) -> dict[str, str]:
    return {"name": person.name, "email": person.email, "date": person.date}


def _file(repo: _Repo, commit: Commit, change: Change) -> dict[str, Any]:
    url = f"{repo.url}/contents/{quote(change.path)}?ref={commit.sha}"
    return {
        "sha": change.sha,
        "filename": change.path,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "blob_url": url,
        "raw_url": url,
        "contents_url": url,
    }


def _branch(repo: _Repo, name: str) -> Answer:
    commit = repo.git.commit(f"refs/heads/{name}")
    if commit is None:
        return problem(404, "Branch not found", "/branches/branches#get-a-branch")
    url = f"{repo.url}/branches/{quote(name)}"
    body = {
        "name": name,
        "commit": _commit(repo, commit),
        "_links": {"self": url, "html": url},
        "protected": False,
        "protection": {"enabled": False},
        "protection_url": f"{url}/protection",
    }
    return Answer(200, body)


_ENDPOINTS = {
    "": _repository,
    "git/trees": _tree,
    "git/blobs": _blob,
    "contents": _contents,
    "commits": _commits,
    "branches": _branch,
}
