"""What must not be written down or shown: tokens, passwords, keys, told by the name they have or by how they look.

In doubt a text is hidden when it is shown, but an argument is compared: nothing goes on with other input unsaid.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

HIDDEN = "***"
"""Stands for a secret."""

_PASSWORDS = frozenset({"password", "passwords", "passwd", "pwd", "passphrase", "passcode", "secret"})
"""What has such a name is a secret even if it is a number; a number of tokens is none."""
_SECRETS = _PASSWORDS | {
    *("token", "tokens", "secrets", "credential", "credentials", "creds", "auth", "oauth", "authorization", "bearer"),
    *("cookie", "cookies", "jwt", "jwts", "pat", "pats", "apikey", "apikeys", "csrf", "xsrf", "webhook"),
}
_SUFFIXES = ("token", "tokens", "password", "passwd", "secret", "apikey", "cookie")
_KINDS_OF_KEYS = frozenset(
    {"access", "account", "api", "auth", "client", "encryption", "license", "master", "private", "secret", "service"}
    | {"shared", "signing", "ssh", "storage", "subscription", "session"}
)
_KEYS = frozenset({"key", "keys"})
_PERHAPS = _KEYS | {"session", "sid", "sig", "signature", "cert", "certificate", "header", "headers"}
"""What has such a name may be a secret, or none."""
_ABOUT = frozenset(
    {"column", "columns", "count", "endpoint", "env", "expires", "expiry", "field", "file", "format", "length", "limit"}
    | {"method", "mode", "name", "path", "provider", "size", "ttl", "type", "uri", "url", "user", "username", "var"}
)
"""``token_url`` tells of a token, and is none."""
_DIGEST = re.compile(r"hidden [0-9a-f]{6}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")
_TAKES_USER = frozenset({"-u", "--user", "--userpwd", "--proxy-user"})
_TAKES_HEADER = frozenset({"-H", "--header", "--headers", "--cookie"})


# -- names ------------------------------------------------------------------------------------------------------------


@cache
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))


@cache
def names_secret(name: str) -> bool:
    """Whether what has this name is certainly a secret: ``tokens``, ``X-Api-Key``; not ``token_url``."""
    words = _words(name)
    if not words or words[-1] in _ABOUT:
        return False
    pairs = pairwise(words)
    return (
        not _SECRETS.isdisjoint(words)
        or any(word.endswith(_SUFFIXES) for word in words)
        or any(kind in _KINDS_OF_KEYS and key in _KEYS for kind, key in pairs)
    )


@cache
def _may_name_secret(name: str) -> bool:
    words = _words(name)
    return bool(words) and words[-1] in _PERHAPS


def _is_number(name: str, value: object) -> bool:
    """Whether *value* is no secret, for it counts something, or is none at all."""
    return value is None or (isinstance(value, int | float) and _PASSWORDS.isdisjoint(_words(name)))


# -- texts ------------------------------------------------------------------------------------------------------------


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """For passwords in URLs, for a name and for the value that belongs to it, and for what looks like a secret."""
    in_urls = re.compile(r"(://)([^\s/:@'\"]*:[^\s/'\"]*|[^\s/:@'\"]{20,})@")
    named = re.compile(r"""(?P<before>[?&]?)(?P<name>[A-Za-z_][\w-]*)(?P<mark>['"]\s*:\s*|\s*=\s*|:\s*)""")
    value = re.compile(
        r"""b?'[^']+'|b?"[^"]+"|\[[^\]]+\]|\([^)]+\)|\{[^}]+\}|"""
        r"""(?:(?i:bearer|basic|token|digest)\s+)?[^\s"'&;,)}\]({\[<]+"""
    )
    looks = re.compile(
        r"""
        (?<![A-Za-z0-9])(?:
            gh[pousr]_\w{4,} | github_pat_\w{4,} | gl(?:pat|ptt|rt|cbt|dt)-[\w-]{6,} | xox[a-z]-[\w-]{4,}
          | sk-(?:[a-z]{1,12}\d{0,3}-){0,3}(?=[A-Za-z0-9_]*[A-Za-z])(?=[A-Za-z0-9_]*\d)[A-Za-z0-9_]{8,}[\w-]*
          | sk-[A-Za-z0-9]{16,} | [srp]k_(?:live|test)_\w{6,} | whsec_\w{6,} | hf_\w{8,} | npm_\w{8,} | pypi-[\w-]{8,}
          | eyJ[\w-]{4,}(?:\.[\w-]*)* | A(?:KIA|SIA)[A-Z0-9]{8,} | AIza[\w-]{16,} | ya29\.[\w-]{8,}
          | SG\.[\w-]{8,}[\w.-]* | xapp-[\w-]{6,}
          | shp(?:at|ss|ca|pa)_\w{6,} | dop_v1_\w{8,} | lin_api_\w{6,} | ntn_\w{8,} | glsa_\w{8,} | hvs\.[\w-]{8,}
          | gsk_\w{16,} | r8_\w{16,} | fig[du]_[\w-]{12,} | ATATT3[\w-]{12,} | PMAK-[\w-]{16,} | dp\.[a-z]{2,5}\.\w{16,}
          | xai-\w{16,} | tvly-[\w-]{12,} | pplx-\w{16,} | key-[0-9a-f]{32} | pat\w{14}\.[0-9a-f]{64}
          | 1//0[\w-]{16,} | phc_\w{16,} | sntrys_[\w+/=-]{16,} | secret_\w{32,} | nvapi-[\w-]{16,}
          | AGE-SECRET-KEY-[A-Z0-9]+ | sq0[a-z]{3}-[\w-]{8,} | bot\d{6,}:[\w-]{16,} | \d{8,10}:AA[\w-]{20,}
        )
        | (?<=hooks\.slack\.com/services/)[\w/]+ | (?<=discord\.com/api/webhooks/)[\w/-]+
        | (?<![A-Za-z0-9_])(?i:bearer|basic|token)\s+(?=[\w.~+/=-]*[\dA-Z=])[\w.~+/=-]{6,}
        | -----BEGIN[ A-Z]*PRIVATE[ ]KEY-----.*?(?:-----END[ A-Z]*PRIVATE[ ]KEY-----|\Z)
        """,
        re.VERBOSE | re.DOTALL,
    )
    return in_urls, named, value, looks


def hidden(text: str) -> str:
    """*text* with ``***`` in place of what looks like a secret, or has the name of one, as in ``password=…``."""
    in_urls, named, value, looks = _patterns()
    text = looks.sub(HIDDEN, text)
    if "@" in text:
        text = in_urls.sub(_without_password, text)
    shown, end = "", 0
    for match in named.finditer(text) if "=" in text or ":" in text else ():
        found = value.match(text, match.end()) if match.start() >= end else None
        if found is not None and _is_secret(match, found[0]):
            shown, end = f"{shown}{text[end : match.end()]}{HIDDEN}", found.end()
    return shown + text[end:]


def _without_password(match: re.Match[str]) -> str:
    user, colon, _ = match[2].partition(":")
    return f"{match[1]}{user if colon else HIDDEN}{colon and f':{HIDDEN}'}@"


def _is_secret(match: re.Match[str], value: str) -> bool:
    """Whether the *value* that follows a name is one."""
    name = match["name"]
    if not names_secret(name):
        return bool(match["before"]) and _may_name_secret(name) and len(value) >= 16  # in the query of a URL
    if value in ("None", "null", "True", "False", "true", "false") or value.replace(".", "").isdigit():
        return not _PASSWORDS.isdisjoint(_words(name))
    return not match["mark"].startswith(":") or _is_long(value)  # a sentence is none: "invalid token: found"


def _is_long(value: str) -> bool:
    return len(value) >= 20 or (len(value) >= 6 and any(map(str.isdigit, value)))


def hidden_in_command(argv: Sequence[str]) -> list[str]:
    """A command line with ``***`` in place of secrets: of what follows ``--token``, too."""
    words: list[str] = []
    before = ""
    for word in argv:
        words.append(_hidden_word(word, before))
        before = word
    return words


def hidden_in_line(command: str) -> str:
    """A command line as a shell takes it, with ``***`` in place of secrets."""
    try:
        words = shlex.split(command)
    except ValueError:
        return hidden(command)
    shown = hidden_in_command(words)
    return shlex.join(shown) if shown != words else command


def _hidden_word(word: str, before: str) -> str:
    if not word.startswith("-"):
        if before.startswith("-") and "=" not in before and (names_secret(before) or _words(before) in (("key",),)):
            return HIDDEN
        if before in _TAKES_USER and ":" in word:
            return f"{word.partition(':')[0]}:{HIDDEN}"
    name, mark, value = re.fullmatch(r"([\w.-]+)([=:]\s*)(.+)|.*", word, re.DOTALL).groups("")  # type: ignore[union-attr]
    is_given = mark.startswith("=") or before in _TAKES_HEADER
    if is_given and value and (names_secret(name) or _words(name) == ("key",)):
        return f"{name}{mark}{HIDDEN}"
    return hidden(word)


# -- values -----------------------------------------------------------------------------------------------------------


def hide(name: str, value: Any, salt: str | None = None) -> Any:
    """Plain JSON without its secrets; what is hidden already stays as it is.

    Args:
        name: What the value is called; "" for no name.
        salt: What may be a secret, by its name, becomes a digest that is keyed with this. None leaves it as it is.
    """
    if _is_number(name, value):
        return value
    if names_secret(name):
        return HIDDEN
    if isinstance(value, Mapping):
        is_headers = _may_name_secret(name) and not _KEYS & {*_words(name)}
        return _hidden_members(value, name if is_headers else "", salt)
    if isinstance(value, list | tuple):
        if len(value) == 2 and isinstance(value[0], str) and names_secret(value[0]):  # a pair, as of headers
            return [value[0], HIDDEN]
        return [hide(name, one, salt) for one in value]
    if not isinstance(value, str):
        return value
    text = HIDDEN if _hides_secret(value) else hidden(value)
    return _digest(text, salt) if salt is not None and text != HIDDEN and _may_name_secret(name) else text


def _hidden_members(values: Mapping[str, Any], around: str, salt: str | None) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in values.items():
        shown = hidden(name)
        while shown in members:
            shown += HIDDEN
        is_known = names_secret(name) or _may_name_secret(name)
        members[shown] = hide(name if is_known or not around else around, value, salt)
    return members


def _hides_secret(text: str) -> bool:
    """Whether it is the base64 of something that looks like a secret: so JSON holds bytes."""
    if len(text) % 4 or not _BASE64.fullmatch(text):
        return False
    try:
        plain = base64.b64decode(text).decode("ascii")
    except (binascii.Error, ValueError):
        return False
    return hidden(plain) != plain


def is_digest(value: object) -> bool:
    """Whether *value* stands for what may be a secret; two such digests tell whether it is another one."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _digest(text: str, salt: str) -> str:
    """Short, so that many a guess fits it."""
    if is_digest(text):
        return text
    key = hashlib.sha256(salt.encode("utf-8", "surrogatepass")).digest()
    return f"hidden {hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), key=key, digest_size=3).hexdigest()}"
