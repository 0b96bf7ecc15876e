"""Fuzzing guided by coverage (atheris): it learns which bytes lead further into the code, and goes on from those.

    python -m tests.faults.fuzz_guided [--runs 100000] [--seconds 600] [--corpus DIRECTORY]

An input is a letter and what it stands for: ``a`` snapshot and journal as they are, ``b`` a snapshot that gets its
right digest, ``c`` the records of a journal that get their right checksums: no mutation would ever come past those.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
from pathlib import Path

try:
    import atheris  # type: ignore[import-not-found]
except ImportError:
    sys.exit("coverage-guided fuzzing needs atheris:  pip install atheris")

with atheris.instrument_imports(include=["resumable"], enable_loader_override=False):
    from tests.faults import hostile
    from tests.faults.fuzz_files import TOKENS, wrong
    from tests.faults.injection import scratch

CUT = b"\0\0"
"""Stands between a snapshot and its journal."""


class Target:
    """Turns an input into files, loads them, and goes on from those that load."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        os.environ["CHECKPOINT_DIR"] = str(directory)  # else a hint looks for a pyproject.toml
        self.guard = hostile.Guard(directory)
        self.valid = hostile.seeds()
        hostile.load_modules()
        for snapshot, journal in self.valid:  # what is loaded later, is loaded now
            hostile.load(snapshot, journal)
            hostile.use(snapshot, journal, directory)
        self.tried = self.loaded = 0

    def corpus(self) -> list[bytes]:
        """What to begin with."""
        journal = self.valid[0][1]
        assert journal is not None
        records = b"\n".join(hostile.records_of(journal))
        whole = [b"a" + snapshot + (CUT + journal if journal is not None else b"") for snapshot, journal in self.valid]
        return [*whole, *(b"b" + snapshot for snapshot, _ in self.valid), b"c" + records]

    def __call__(self, data: bytes) -> None:
        snapshot, journal = self.files(data)
        self.tried += 1
        if self.guard.watch(lambda: hostile.load(snapshot, journal)) == "loaded":
            self.loaded += 1
            self.guard.watch(lambda: hostile.use(snapshot, journal, self.directory))

    def files(self, data: bytes) -> tuple[bytes, bytes | None]:
        kind, rest = data[:1], data[1:]
        if kind == b"b":
            with contextlib.suppress(ValueError, RecursionError):
                return hostile.signed(json.loads(rest)), None
            return rest, None
        if kind == b"c":
            return self.valid[0][0], hostile.framed(rest.split(b"\n"))
        snapshot, cut, journal = rest.partition(CUT)
        return snapshot, journal if cut else None


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Another input: its bytes changed as the fuzzer does, or one of its values."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        with contextlib.suppress(ValueError, RecursionError, IndexError):
            return with_a_wrong_value(data, chance)[:most]
    return bytes(atheris.Mutate(data, most))


def with_a_wrong_value(data: bytes, chance: random.Random) -> bytes:
    lines = data[1:].split(b"\n") if data[:1] == b"c" else [data[1:].partition(CUT)[0]]
    at = chance.randrange(len(lines))
    lines[at] = json.dumps(wrong(json.loads(lines[at]), chance)).encode()
    return data[:1] + b"\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="Where what leads further is kept, for the next time.")
    options = parser.parse_args()
    with scratch() as directory:
        pid = os.fork()
        if pid == 0:  # the fuzzer ends its process, whatever it finds
            fuzz(options, directory)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(code)


def fuzz(options: argparse.Namespace, directory: Path) -> None:
    corpus = options.corpus or directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    words = directory / "words"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in TOKENS if len(token) < 60))
    target = Target(directory)
    for number, seed in enumerate(target.corpus()):
        (corpus / f"seed-{number}").write_bytes(seed)
    command = [sys.argv[0], str(corpus), f"-runs={options.runs}", f"-seed={options.seed}", f"-dict={words}"]
    command += ["-max_len=40000", "-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={Path.cwd()}/"]
    if options.seconds:
        command.append(f"-max_total_time={options.seconds}")
    atheris.Setup(command, target, custom_mutator=mutated)
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    main()
