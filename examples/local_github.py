"""A GitHub that serves this clone's own files from a thread of this process: a first try needs no network."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # makes `examples` importable for a script beside this

from examples.github_server import GitHubServer

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 10
REQUESTS = 200
"""Requests in each window of that many seconds: fewer than there are files, so that a wait is visible."""
_SIGNED = {"NAME": "example", "EMAIL": "example@localhost", "DATE": "2026-01-01T00:00:00Z"}


def serve() -> str:
    """Serve from now on until the program ends; returns the base URL. Exits if git is not installed."""
    try:
        server = GitHubServer(_repository(), limit=REQUESTS, window=SECONDS, delay=0.03)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"the example needs git to serve files, or the name of a repository on github.com ({error})")
    print(f"Serving the files of {ROOT.name} at {server.url}, as GitHub would, {REQUESTS} requests in {SECONDS} s.")
    print(f"Kill me whenever you like, by Ctrl-C or kill -9 {os.getpid()}; then run this line again.\n", flush=True)
    return server.url


def _repository() -> Path:
    """The clone, or, where the files came without their history, a repository made of them."""
    if (ROOT / ".git").exists():
        return ROOT
    place = Path(tempfile.mkdtemp(prefix="resumable-example-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    who = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in _SIGNED.items()}
    for arguments in (["init", "-q"], ["add", "resumable", "tests", "examples"], ["commit", "-q", "-m", "all files"]):
        command = ["git", f"--git-dir={place}/.git", f"--work-tree={ROOT}", *arguments]
        subprocess.run(command, check=True, env=os.environ | who, cwd=ROOT)
    return place
