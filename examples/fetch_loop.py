"""Fetch every file of a GitHub repository. Kill it whenever you like, and run it again.

python examples/fetch_loop.py                      files of this clone, from a server in this process
python examples/fetch_loop.py octocat/Hello-World  from github.com; with a token in GITHUB_TOKEN, if you have one
python examples/fetch_loop.py any/name --base-url http://127.0.0.1:8000
"""

import argparse
import json
import os
from pathlib import Path
from urllib.parse import quote

import httpx

from resumable import checkpointed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("repo", nargs="?", help="owner/name")
parser.add_argument("--base-url", default="https://api.github.com")
parser.add_argument("--output", default="files.json", type=Path)
options = parser.parse_args()
if options.repo is None:
    from local_github import serve

    options.repo, options.base_url = "this/clone", serve()
token = os.environ.get("GITHUB_TOKEN")
is_remote = options.base_url.startswith("https:")
client = httpx.Client(
    base_url=options.base_url, trust_env=is_remote, headers={"Authorization": f"Bearer {token}"} if token else {}
)


def get(path: str) -> httpx.Response:
    response = client.get(f"/repos/{options.repo}/{path}")
    cp.observe(response)  # waits once the quota is used up
    return response.raise_for_status()


with checkpointed(f"fetch_{options.repo}", progress=True) as cp:
    # The commit is part of the state, so that a resumed run lists the same files.
    commit = cp.state.setdefault("commit", get("commits/HEAD").json()["sha"])
    tree = get(f"git/trees/{commit}?recursive=1").json()["tree"]
    files = cp.mapping("files")
    for path in cp.remaining([entry["path"] for entry in tree if entry["type"] == "blob"]):
        files[path] = get(f"contents/{quote(path)}?ref={commit}").json()
    options.output.write_text(json.dumps(files))

print(f"{len(files)} files in {options.output}")
