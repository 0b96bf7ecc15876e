"""Build the API reference by pdoc: ``python .ci/reference.py DIRECTORY``. A warning is an error."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import pdoc

MODULES = ("resumable", "resumable.ratelimit", "resumable.stores", "resumable.testing")


def main(directory: Path) -> None:
    warnings.simplefilter("error")
    for name in MODULES:
        module = importlib.import_module(name)
        for public in module.__all__:
            getattr(module, public)  # some are loaded with their first use, and pdoc looks no further
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
