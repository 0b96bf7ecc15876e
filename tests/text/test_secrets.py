"""What is a secret, by its name or by how it looks; and what only looks a little like one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._text import hidden, hidden_in_command, hidden_in_line, hide, names_secret


@pytest.mark.parametrize(
    "name",
    [
        "token", "tokens", "auth", "pat", "cookies", "jwt", "apiKey", "API_KEY", "api_keys", "db_password", "secrets",
        "X-Amz-Security-Token", "Authorization", "x-accesstoken", "privateKey", "credentials", "client_secret",
    ],
)  # fmt: skip
def test_a_name_tells_a_secret(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "path",
        "patch",
        "author",
        "token_url",
        "token_count",
        "tokenizer",
        "keyboard",
        "monkey",
        "key",
        "",
        "secret_name",
    ],
)
def test_a_name_tells_no_secret(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pa@ss@host/db", "https://user:***@host/db"),
        ("redis://:pw@host:6379/0", "redis://:***@host:6379/0"),
        ("https://ghp_abcd1234@github.com/x", "https://***@github.com/x"),
        ("GET https://x.org/?access_token=abc&page=2", "GET https://x.org/?access_token=***&page=2"),
        ("https://x.org/?key=abcdefgh12345678&page=2", "https://x.org/?key=***&page=2"),
        ("Authorization: Bearer abcDEF123", "Authorization: ***"),
        ("{'Authorization': 'x', 'Accept': 'json'}", "{'Authorization': ***, 'Accept': 'json'}"),
        ("tokens=['a', 'b'], n=3", "tokens=***, n=3"),
        ("auth=('user', 'pw')", "auth=***"),
        ("password: hunter2", "password: ***"),
        ("password=1234", "password=***"),
        ("a github_pat_11ABC_xyz b", "a *** b"),
        ("sk-proj-AbC12345678_x-y", "***"),
        ("xoxb-12-34-ab", "***"),
        ("eyJhbGciOi.eyJzdWIi.sig", "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("Bearer abc123", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n", "***"),
    ],
)
def test_a_secret_is_hidden_in_a_text(text: str, shown: str) -> None:
    assert hidden(text) == shown
    assert hidden(shown) == shown


@pytest.mark.parametrize(
    "secret",
    [
        "gsk_AbCdEfGhIjKlMnOpQrSt", "r8_AbCdEfGhIjKlMnOpQrSt", "figd_AbCdEfGhIjKlMnOp", "ATATT3xFfGF0AbCdEfGhIj",
        "PMAK-0123456789abcdef01234567-0123", "dp.pt.AbCdEfGhIjKlMnOpQrStUv", "xai-AbCdEfGhIjKlMnOpQrSt",
        "key-0123456789abcdef0123456789abcdef", f"patAbCdEf01234567.{'0123456789abcdef' * 4}", "1//0gAbCdEfGhIjKlMnOp",
        "nvapi-AbCdEfGhIjKlMnOpQrSt", "tvly-dev-AbCdEfGhIjKl",
    ],
)  # fmt: skip
def test_tokens_are_known_by_their_beginning(secret: str) -> None:
    assert hidden(f"cannot read {secret} here") == "cannot read *** here"


@pytest.mark.parametrize(
    "text",
    [
        "key-0123456789", "pattern12345678.txt", "r8_short", "dp.pt.x", "http://h/1//0/x", "secret_santa_list",
        "sk-SK-2024-05-01", "sk-learn-2024-run", "task-1234567890abc", "token=None", "max_tokens=500",
        "KeyError: 'token'",
        "Unexpected token: foo", "the Basic training camp", "12:30:45", r"C:\path", "mailto:me@x.org",
        "https://example.org/a:b@c", "https://x.org/?key=page1",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert hidden(text) == text


def test_a_command_line_is_told_without_secrets() -> None:
    given = (
        "python job.py --token abc --api-key=x -H X-Api-Key:y --key k -u me:pw --keyfile f --sort-key n TOKEN=z --p 3"
    )

    assert " ".join(hidden_in_command(given.split())) == (
        "python job.py --token *** --api-key=*** -H X-Api-Key:*** --key *** -u me:*** --keyfile f --sort-key n "
        "TOKEN=*** --p 3"
    )


def test_a_line_is_told_as_it_was_where_nothing_is_hidden() -> None:
    assert hidden_in_line("job.py --token 'a b' x") == "job.py --token '***' x"
    assert hidden_in_line("job.py 'a b'  \"c\"") == "job.py 'a b'  \"c\""
    assert hidden_in_line("job.py ' token=abc") == "job.py ' token=***"


def test_members_are_hidden_by_their_own_name_and_by_how_they_look() -> None:
    given = {"a": {"password": 1234, "max_tokens": 5, "list": ["xoxb-1234", "x"]}, "ghp_abcd": 1, "ghp_efgh": 2}

    assert hide("x", given) == {
        "a": {"password": "***", "max_tokens": 5, "list": ["***", "x"]}, "***": 1, "******": 2
    }  # fmt: skip


def test_headers_are_compared_and_shown_never() -> None:
    found = hide("headers", {"Authorization": "abc", "Accept": "json"}, "salt")

    assert found["Authorization"] == hide("headers", {"Authorization": "new"}, "salt")["Authorization"] == "***"
    assert found["Accept"] == hide("headers", {"Accept": "json"}, "salt")["Accept"] != "json"
    assert found["Accept"] != hide("headers", {"Accept": "html"}, "salt")["Accept"]
    assert hide("headers", [["Authorization", "abc"]], "salt") == [["Authorization", "***"]]


def test_what_may_be_a_secret_is_compared_by_a_keyed_digest() -> None:
    assert hide("key", "a", "one") == hide("key", "a", "one")
    assert len({hide("key", "a", "one"), hide("key", "b", "one"), hide("key", "a", "two"), "a"}) == 4
    assert hide("key", 3, "one") == 3


def test_bytes_are_known_in_base64() -> None:
    assert hide("raw", base64.b64encode(b"ghp_abcdef12345").decode()) == "***"
    assert hide("raw", base64.b64encode(b"nothing to hide").decode()) != "***"


json_values: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["a", "ghp_abcd1", "x=1", "token: abcdef1"])
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "key", "token", "headers", "ghp_abcd1", "ghp_efgh2"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(value=json_values)
def test_what_is_hidden_stays_as_it_is(value: Any) -> None:
    """Else it would differ from what was saved of it."""
    once = hide("x", value, "salt")

    assert hide("x", once, "salt") == once
    assert "ghp_abcd1" not in json.dumps(once)
