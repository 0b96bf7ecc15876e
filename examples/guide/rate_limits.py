"""Rate limits: show the loop each response. It saves, and waits, when the quota is used up.

python -m examples.guide.rate_limits octocat/Hello-World
"""

import sys

import httpx

from resumable import checkpointed


def main(repository: str, url: str = "https://api.github.com") -> dict[str, int]:
    """The size of each file in the root of *repository*."""
    with checkpointed(f"sizes of {repository}", progress=True) as cp, httpx.Client(base_url=url) as client:
        tree = client.get(f"/repos/{repository}/git/trees/HEAD").raise_for_status().json()["tree"]
        sizes = cp.mapping("sizes")
        for path in cp.remaining([entry["path"] for entry in tree if entry["type"] == "blob"]):
            response = client.get(f"/repos/{repository}/contents/{path}")
            cp.observe(response)  # before raise_for_status: a refusal tells how long to wait
            sizes[path] = response.raise_for_status().json()["size"]
        return dict(sizes)


if __name__ == "__main__":
    print(main(sys.argv[1]))
