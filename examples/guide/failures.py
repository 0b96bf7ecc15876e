"""Items that fail: note them, go on, and try them again in a later run.

python -m examples.guide.failures           # resumable show downloads  lists what failed
python -m examples.guide.failures --again
"""

import sys
import time

from resumable import checkpointed


def download(name: str) -> str:
    time.sleep(0.01)
    if name.startswith("broken"):
        raise ValueError(f"{name} is no file")
    return name.upper()


def main(again: bool = False) -> dict[str, str]:
    """Download what can be downloaded. Returns the failed items, with their errors."""
    with checkpointed("downloads") as cp:
        files = cp.mapping("files")
        names = ["a", "broken b", "c", "d"]
        for name, content in cp.map(download, names, key=str, on_error="skip", max_failed=3, retry_failed=again):
            files[name] = content
        return {str(name): error for name, error in cp.failed.items()}


if __name__ == "__main__":
    for name, error in main(again="--again" in sys.argv).items():
        print(f"{name}: {error}")
