"""One secret, fed in by every way, is in no file, log or message."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, CheckpointManager, InputChangedError, checkpointed, every, resumable
from resumable._format.document import sign
from resumable._json import encode
from resumable.stores import MemoryStore

PROGRAM = """
import logging, os, sys
from dataclasses import dataclass
import tenacity
from resumable import checkpointed, every, resumable
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
secret = sys.argv[sys.argv.index("--token") + 1]

@dataclass
class Account:
    name: str
    api_key: str

@resumable(operation_id="job", strategy=every(items=1), retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(2)))
def job(cp, tokens, headers, auth, pat, cookies, jwt, key, account, url, raw, nested, more=()):
    def work(item):
        raise PermissionError(f"401 for https://user:{secret}@host/?access_token={secret} {nested}")
    for item, error in cp.map(work, [url, f"Bearer {secret}"], on_error="collect"):
        pass
    for item in cp.remaining([{"url": url, "token": secret}, 2, 3], name="plain"):
        if item == 3 and os.environ.get("FAIL"):
            raise PermissionError("401")

job(
    [secret], {"Authorization": secret, "X-Other": secret}, ("user", secret), secret, {"sid": secret}, secret, secret,
    Account("a", secret), f"https://user:{secret}@host/?token={secret}", f"ghp_{secret}".encode(),
    {"deep": [{"password": secret, f"ghp_{secret}": 1}]},
)
"""


def run(path: Path, secret: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(words or (str(path / "job.py"), "--token", secret, f"--api-key={secret}"))]
    env = {"PYTHONPATH": str(Path(__file__).parents[2]), "RESUMABLE_INDEX": str(path / "state"), **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=path, env=env, check=False)


@pytest.mark.slow
def test_a_secret_is_in_no_file_log_or_message(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(PROGRAM)

    first = run(tmp_path, "oldSecret1", FAIL="1")
    assert "PermissionError: 401" in first.stderr
    shown = run(tmp_path, "", "-m", "resumable", "show", "job").stdout
    as_json = run(tmp_path, "", "-m", "resumable", "show", "job", "--json").stdout
    second = run(tmp_path, "newSecret2")

    stored = b"".join(path.read_bytes() for path in tmp_path.glob(".checkpoint_*")).decode()
    assert '"position"' in stored
    assert "--token '***'" in shown
    assert json.loads(as_json)["failed"]
    # What the program itself prints is its own affair.
    messages = "\n".join(line for line in first.stderr.splitlines() if "resumable" in line)
    for text in (stored, shown, as_json, messages, second.stderr):
        assert "oldSecret1" not in text
        assert "newSecret2" not in text


@pytest.fixture
def manager() -> CheckpointManager:
    return CheckpointManager(store=MemoryStore())


SECRETS: dict[str, Any] = {
    "tokens": lambda secret: {"tokens": [secret]},
    "a header": lambda secret: {"headers": {"X-Api-Key": secret, "Accept": "json"}},
    "a user and a password": lambda secret: {"auth": ("user", secret)},
    "by how it looks": lambda secret: {"x": f"ghp_{secret}"},
    "within a URL": lambda secret: {"x": f"https://user:{secret}@host/db"},
    "deep inside": lambda secret: {"x": [{"jwt": secret}, {"n": 1}]},
    "of a long argument": lambda secret: {"x": [{"n": n, "token": secret} for n in range(200)]},
}


@pytest.mark.parametrize("arguments", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("template", ["job", None])
def test_a_fresh_secret_is_no_changed_input(manager: CheckpointManager, arguments: Any, template: str | None) -> None:
    done: list[int] = []

    @resumable(operation_id=template, manager=manager)
    def job(cp: Checkpoint, is_expired: list[bool], **more: Any) -> None:
        for number in cp.remaining(range(3)):
            if number == 1 and done == [0]:
                raise PermissionError("401")
            done.append(number)

    with pytest.raises(PermissionError):
        job([], **arguments("oldSecret1"))
    done.append(-1)
    job([], **arguments("newSecret2"))

    assert done == [0, -1, 1, 2]


def interrupted(manager: CheckpointManager, **arguments: Any) -> None:
    with checkpointed("job", manager=manager, arguments=arguments) as cp:
        cp.tick()
        cp.keep()


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        pytest.param({"key": "a"}, {"key": "b"}, "key has changed", id="what may be a secret"),
        pytest.param({"x": "https://u:old@a/"}, {"x": "https://u:new@b/"}, r"x was 'https://u:\*\*\*@a/'", id="host"),
        pytest.param({"headers": {"Accept": "a"}}, {"headers": {"Accept": "b"}}, "headers was", id="a header"),
    ],
)
def test_other_input_is_told_without_secrets(
    manager: CheckpointManager, before: dict[str, Any], now: dict[str, Any], says: str
) -> None:
    interrupted(manager, **before)

    with pytest.raises(InputChangedError, match=says) as raised, checkpointed("job", manager=manager, arguments=now):
        pass

    assert "old" not in repr(raised.value)
    assert "new" not in repr(raised.value)


def test_what_an_earlier_release_wrote_down_is_hidden_by_the_next_save(tmp_path: Path) -> None:
    path = tmp_path / ".checkpoint_job.json"
    with checkpointed("job", store=tmp_path, arguments={"words": ["old"]}) as cp:
        cp.tick()
        cp.keep()
    document = json.loads(path.read_text())
    internal = document["resumable"]
    internal["arguments"], internal["history"][0]["command"] = {"tokens": ["oldSecret1"]}, "job.py --token oldSecret1"
    del internal["digest"]
    head = {name: document.pop(name) for name in ("version", "operation_id")}
    path.write_bytes(b"".join(sign(head, [encode(document.pop("state"))], document)))

    with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False, arguments={"tokens": ["n"]}) as cp:
        cp.tick()

    assert "--token" in path.read_text()
    assert "oldSecret1" not in path.read_text()


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        pytest.param("job_{token}", {"token": "oldSecret1"}, id="by the field's name"),
        pytest.param("job_{more[api_key]}", {"more": {"api_key": "oldSecret1"}}, id="by the name of a part"),
        pytest.param("job_{x}", {"x": "ghp_oldSecret1"}, id="by how it looks"),
        pytest.param(lambda token, x, more: f"job_{x}", {"x": "ghp_oldSecret1"}, id="a callable"),
    ],
)
def test_a_secret_names_no_operation(manager: CheckpointManager, template: Any, arguments: dict[str, Any]) -> None:
    @resumable(operation_id=template, manager=manager)
    def job(cp: Checkpoint, token: str = "", x: str = "", more: Any = None) -> None: ...

    with pytest.raises(ValueError, match="is stored and shown in plain text") as raised:
        job(**arguments)

    assert "oldSecret1" not in str(raised.value)


def test_a_number_of_tokens_may_name_an_operation(manager: CheckpointManager) -> None:
    @resumable(operation_id="job_{max_tokens}", manager=manager)
    def job(cp: Checkpoint, max_tokens: int) -> str:
        return cp.operation_id

    assert job(500) == "job_500"
