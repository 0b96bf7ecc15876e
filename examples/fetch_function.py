"""Fetch every file of a GitHub repository in a function, with retries that wait as long as the server asks.

python examples/fetch_function.py octocat/Hello-World
python examples/fetch_function.py any/name --base-url http://127.0.0.1:8000
"""

import argparse
import json
import os
from pathlib import Path
from urllib.parse import quote

import httpx
import tenacity

from resumable import Checkpoint, resumable, wait_rate_limit

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("repo", help="owner/name")
parser.add_argument("--base-url", default="https://api.github.com")
parser.add_argument("--output", default="files.json", type=Path)
options = parser.parse_args()
token = os.environ.get("GITHUB_TOKEN")
client = httpx.Client(base_url=options.base_url, headers={"Authorization": f"Bearer {token}"} if token else {})
policy = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(httpx.HTTPError),
    stop=tenacity.stop_after_attempt(5),
    wait=wait_rate_limit(fallback=tenacity.wait_random_exponential(max=10)),
    reraise=True,
)


@resumable(operation_id="fetch_{repo_name}", retry=policy)
def fetch_repository(cp: Checkpoint, repo_name: str) -> dict:
    """Fetch every file of the repository. Returns them by path."""

    def get(path: str) -> httpx.Response:
        response = client.get(f"/repos/{repo_name}/{path}")
        cp.observe(response)
        return response.raise_for_status()

    commit = cp.state.setdefault("commit", get("commits/HEAD").json()["sha"])
    tree = get(f"git/trees/{commit}?recursive=1").json()["tree"]
    files = cp.mapping("files")
    for path in cp.remaining([entry["path"] for entry in tree if entry["type"] == "blob"]):
        files[path] = get(f"contents/{quote(path)}?ref={commit}").json()
    return dict(files)


fetched = fetch_repository(options.repo)
options.output.write_text(json.dumps(fetched))
print(f"{len(fetched)} files in {options.output}")
