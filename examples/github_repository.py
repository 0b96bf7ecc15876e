"""Read a local git repository: objects, trees, commits and their changes."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

# Set inside git hooks, they would make git read another repository than the one asked for.
_GIT_PLACES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"}
# One line of `cat-file --batch`: no line breaks, and neither git's searches nor its path syntax.
_NAME = re.compile(r"[^\s\x00-\x1f\x7f:{]+")
_PERSON = re.compile(r"(?P<name>.*?) ?<(?P<email>.*)> (?P<seconds>-?\d+) [+-]\d+")
_STATUS = {"A": "added", "D": "removed", "M": "modified", "T": "changed"}


class GitObject(NamedTuple):
    """One object: *kind* is ``blob``, ``tree``, ``commit`` or ``tag``; *content* is without git's header."""

    sha: str
    kind: str
    content: bytes


class TreeEntry(NamedTuple):
    """One line of a tree. *path* is relative to that tree; *size* is None unless it is a blob."""

    path: str
    mode: str
    kind: str
    sha: str
    size: int | None


class Person(NamedTuple):
    """Who wrote or committed; *date* is ISO 8601 in UTC."""

    name: str
    email: str
    date: str


class Commit(NamedTuple):
    """One commit; *parents* is empty for a root."""

    sha: str
    tree: str
    parents: list[str]
    author: Person
    committer: Person
    message: str


class Change(NamedTuple):
    """What a commit did to one file. Lines are 0 for binary files."""

    path: str
    sha: str
    status: str
    additions: int
    deletions: int


class GitRepository:
    """A local repository, with or without a work tree. Safe to use from many threads.

    Raises:
        ValueError: If git finds no repository at *path*; the message is git's own.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._env = {name: value for name, value in os.environ.items() if name not in _GIT_PLACES}
        self._git("rev-parse", "--git-dir")
        self._lock = threading.Lock()
        self._objects = self._open_objects()
        self._cached_tree = functools.lru_cache(maxsize=64)(self._read_tree)
        self._cached_commit_shas = functools.lru_cache(maxsize=64)(self._read_commit_shas)

    @functools.cached_property
    def default_branch(self) -> str:
        """The branch that is checked out, or ``HEAD`` if none is."""
        try:
            return self._git("symbolic-ref", "--quiet", "--short", "HEAD").decode().strip()
        except ValueError:
            return "HEAD"

    def read(self, name: str) -> GitObject | None:
        """The object of a ref or a (short) sha, or None if there is none."""
        return self._read(name) if _NAME.fullmatch(name) else None

    def tree_sha(self, name: str) -> str | None:
        """The tree that a ref, a commit or a tree stands for, or None."""
        found = self._read(f"{name}^{{tree}}") if _NAME.fullmatch(name) else None
        return found.sha if found else None

    def tree(self, sha: str, *, recursive: bool) -> Mapping[str, TreeEntry]:
        """The entries of a tree by path, in git's order; with those of its subtrees if *recursive*."""
        return self._cached_tree(sha, recursive)

    def commit(self, name: str) -> Commit | None:
        """The commit that a ref or a sha stands for, or None."""
        found = self._read(f"{name}^{{commit}}") if _NAME.fullmatch(name) else None
        return _parse_commit(found) if found else None

    def commit_shas(self, sha: str, path: str = "") -> Sequence[str]:
        """The commits from *sha* back to the first, newest first; only those that touch *path*, if given."""
        return self._cached_commit_shas(sha, path)

    def changes(self, commit: Commit) -> list[Change]:
        """What *commit* changed; a merge, against its first parent."""
        return self._read_changes(commit.sha, commit.parents[0] if commit.parents else None)

    def close(self) -> None:
        """End the git process that is kept open."""
        with self._lock:
            assert self._objects.stdin is not None
            assert self._objects.stdout is not None
            self._objects.stdin.close()
            self._objects.wait()
            self._objects.stdout.close()

    def _read(self, expression: str) -> GitObject | None:
        stdin, stdout = self._objects.stdin, self._objects.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(expression.encode() + b"\n")
            stdin.flush()
            header = stdout.readline()
            if header.endswith((b" missing\n", b" ambiguous\n")):
                return None
            sha, kind, size = header.decode().split()
            content = stdout.read(int(size))
            stdout.read(1)  # the line break that ends it
        return GitObject(sha, kind, content)

    def _read_tree(self, sha: str, recursive: bool) -> dict[str, TreeEntry]:
        flags = ["-r", "-t"] if recursive else []
        lines = _split(self._git("ls-tree", "-l", "-z", *flags, sha))
        return {entry.path: entry for entry in map(_parse_entry, lines)}

    def _read_commit_shas(self, sha: str, path: str) -> list[str]:
        limit_to = ["--", path] if path else []
        try:
            return self._git("rev-list", sha, *limit_to).decode().split()
        except ValueError:  # a path out of the repository
            return []

    def _read_changes(self, commit: str, parent: str | None) -> list[Change]:
        between = [parent, commit] if parent else ["--root", "--no-commit-id", commit]
        diff = functools.partial(self._git, "diff-tree", "-r", "-z", "--no-renames")
        raw = _split(diff("--raw", "--no-abbrev", *between))
        lines = _split(diff("--numstat", *between))
        return [_parse_change(*parts) for parts in zip(raw[::2], lines, strict=True)]

    def _git(self, *arguments: str) -> bytes:
        command = ["git", "-C", str(self.path), "--literal-pathspecs", *arguments]
        ended = subprocess.run(command, env=self._env, capture_output=True)
        if ended.returncode:
            raise ValueError(f"{self.path}: {ended.stderr.decode(errors='replace').strip()}")
        return ended.stdout

    def _open_objects(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["git", "-C", str(self.path), "cat-file", "--batch"],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C meant for the server must not end git under a running request
        )


def _split(output: bytes) -> list[str]:
    """The NUL-terminated fields. A name that is not UTF-8 keeps what can be shown of it."""
    return output.decode(errors="replace").split("\0")[:-1]


def _parse_entry(line: str) -> TreeEntry:
    facts, path = line.split("\t", 1)
    mode, kind, sha, size = facts.split()
    return TreeEntry(path, mode, kind, sha, None if size == "-" else int(size))


def _parse_change(raw: str, numbers: str) -> Change:
    _, _, old_sha, new_sha, status = raw.split()
    additions, deletions, path = numbers.split("\t", 2)
    sha = old_sha if status == "D" else new_sha
    return Change(path, sha, _STATUS.get(status, "modified"), _lines(additions), _lines(deletions))


def _lines(number: str) -> int:
    return 0 if number == "-" else int(number)


def _parse_commit(found: GitObject) -> Commit:
    head, _, message = found.content.decode(errors="replace").partition("\n\n")
    fields = [line.partition(" ")[::2] for line in head.split("\n") if not line.startswith(" ")]
    only = {name: value for name, value in fields if name != "parent"}
    return Commit(
        sha=found.sha,
        tree=only["tree"],
        parents=[value for name, value in fields if name == "parent"],
        author=_parse_person(only["author"]),
        committer=_parse_person(only["committer"]),
        message=message.rstrip("\n"),
    )


def _parse_person(line: str) -> Person:
    match = _PERSON.fullmatch(line)
    if match is None:
        return Person(line, "", "1970-01-01T00:00:00Z")
    moment = datetime.fromtimestamp(int(match["seconds"]), UTC)
    return Person(match["name"], match["email"], moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
