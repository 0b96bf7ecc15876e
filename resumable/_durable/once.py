"""Effects that must not happen twice: the intention is saved before, the result after."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

import msgspec

from .._errors import UnknownOutcomeError
from .._json import check, check_unicode, encode
from .._loops.inputs.fingerprint import digest
from .._loops.inputs.values import ValuelessError
from .._runtime.steps import Exchange
from .._text import shortened

Unknown = Literal["raise", "retry"] | Callable[[], Any]
"""What to do with an effect that was begun, but has no saved result."""
_NAMESPACE = uuid.UUID("7b1d0a52-5c1c-5f0e-9d43-2f6c0f6f0d5e")
_LOOKS_LIKE_A_NUMBER = re.compile(r"-?[0-9]+|\".*", re.DOTALL)


class Effect(msgspec.Struct, frozen=True):
    """One effect that was begun.

    Attributes:
        at: When (UTC, ISO 8601).
        result: As JSON; None while unknown.
    """

    at: str
    result: bytes | None = None

    def to_dict(self) -> dict[str, Any]:
        """The saved form."""
        return {"at": self.at} if self.result is None else {"at": self.at, "result": msgspec.Raw(self.result)}


class CapturedEffects:
    """The part of the effects that one save contains.

    Attributes:
        changes: The saved form of each effect that changed since the last save; None for one that did not happen.
    """

    def __init__(self, effects: dict[str, Effect], changed: dict[str, object]) -> None:
        self._effects, self._changed = effects, changed
        self._taken = changed.copy()
        found = {name: effects.get(name) for name in self._taken}
        self.changes = {name: None if one is None else one.to_dict() for name, one in found.items()}

    def whole(self) -> dict[str, Any]:
        """The saved form of all. It may be newer than the save, because results are saved as soon as possible."""
        return {name: effect.to_dict() for name, effect in self._effects.copy().items()}

    def commit(self) -> None:
        """This save is stored."""
        for name, mark in self._taken.items():
            if self._changed.get(name) is mark:
                self._changed.pop(name, None)


class Effects:
    """All effects of one operation, by key.

    Args:
        saved: Their saved forms.
        utc: Returns the time.
    """

    def __init__(self, saved: Mapping[str, Mapping[str, Any]], utc: Callable[[], datetime]) -> None:
        self._effects = {
            name: Effect(form["at"], encode(form["result"], _place(name)) if "result" in form else None)
            for name, form in saved.items()
        }
        self._utc = utc
        self._changed: dict[str, object] = {}
        self._locks: dict[str, Any] = {}
        self._under_way: dict[str, object] = {}

    def __len__(self) -> int:
        return len(self._effects)

    def unknown(self) -> list[str]:
        """The keys of effects that may or may not have happened."""
        effects = self._effects.copy().items()
        return [name for name, effect in effects if effect.result is None and name not in self._under_way]

    def capture(self) -> CapturedEffects:
        """The part for the next save."""
        return CapturedEffects(self._effects, self._changed)

    def _note(self, name: str, effect: Effect | None) -> None:
        if effect is None:
            self._effects.pop(name, None)
        else:
            self._effects[name] = effect
        self._changed[name] = object()  # last: a save in another thread that sees the mark also sees the effect

    def once(
        self,
        key: str | int,
        fn: Callable[[], Any],
        unknown: Unknown,
        save: Callable[[str], Any],
        new_lock: Callable[[], Any],
    ) -> Exchange[Any]:
        """The result of ``fn()``, called only if no earlier call for *key* has a result. See ``Checkpoint.once``.

        Args:
            save: Saves the checkpoint; returns when the save is stored.
            new_lock: Makes the lock with which callers wait for each other: for threads, or for tasks.
        """
        name = name_of(key)
        _check(fn, unknown)
        effect = self._effects.get(name)
        if effect is not None and effect.result is not None:
            return msgspec.json.decode(effect.result)
        lock = self._locks.get(name) or self._locks.setdefault(name, new_lock())
        if self._under_way.get(name) is _who():
            raise RuntimeError(f"once({key!r}) is called within its own function, so it would wait for itself")
        yield lock.acquire()
        try:
            with self._marked(name):
                return (yield from self._alone(name, key, fn, unknown, save))
        finally:
            lock.release()

    @contextmanager
    def _marked(self, name: str) -> Iterator[None]:
        self._under_way[name] = _who()
        try:
            yield
        finally:
            del self._under_way[name]

    def _alone(
        self, name: str, key: str | int, fn: Callable[[], Any], unknown: Unknown, save: Callable[[str], Any]
    ) -> Exchange[Any]:
        """The call, by one caller at a time."""
        before = self._effects.get(name)
        if before is not None and before.result is not None:
            return msgspec.json.decode(before.result)  # another thread was first
        if before is not None and unknown != "retry":
            found = (yield unknown()) if callable(unknown) else None
            if found is not None:
                return (yield from self._happened(name, found, before, save))
            if unknown == "raise":
                raise _unknown(key, f"it began at {before.at}, and no result was saved")
        effect = Effect(self._utc().isoformat(timespec="seconds"))
        self._note(name, effect)
        try:
            yield save(f"Once: {shortened(key)} is to happen")
        except BaseException:
            self._note(name, before)  # the function was not called
            raise
        try:
            result = yield fn()
        except UnknownOutcomeError as error:
            raise _unknown(key, error.reason or "its function does not know") from error
        except Exception as error:
            self._note(name, before)
            try:
                yield save(f"Once: {shortened(key)} has not happened")
            except Exception as failure:  # the user must see the program's own error
                error.add_note(f"resumable: once({key!r}) has not happened, but this could not be saved: {failure}")
            raise
        return (yield from self._happened(name, result, effect, save))

    def _happened(self, name: str, result: Any, effect: Effect, save: Callable[[str], Any]) -> Exchange[Any]:
        try:
            check(result, _place(name))
            encoded = encode(result, _place(name))
        except Exception as error:
            error.add_note(f"resumable: {name!r} has happened; its result is not stored, so a later run cannot know it")
            raise
        self._note(name, Effect(effect.at, encoded))
        yield save(f"Once: {shortened(name)} has happened")
        self._locks.pop(name, None)
        return msgspec.json.decode(encoded)


def name_of(key: str | int) -> str:
    """The name for *key* in the checkpoint: a number, or a text, quoted if it looks like a number.

    Raises:
        TypeError: *key* is neither a str nor an int.
        StateEncodeError: *key* is not valid Unicode.
    """
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise TypeError(f"a key must be a str or an int, not {key!r:.80} of type {type(key).__name__}")
    if isinstance(key, int):
        return str(int(key))
    check_unicode(key, f"the key {shortened(key)}")
    return f'"{key}"' if _LOOKS_LIKE_A_NUMBER.fullmatch(key) else str.__str__(key)


def idempotency_key(operation_id: str, item: Any) -> str:
    """A UUID for *item*, equal in every run. See ``Checkpoint.idempotency_key``.

    Raises:
        TypeError: *item* has no value that is equal in every run.
    """
    is_key = isinstance(item, (str, int)) and not isinstance(item, bool)
    try:
        value = ["key", name_of(item)] if is_key else ["value", digest(item)]
    except ValuelessError as error:
        raise TypeError(f"a {error} has no value that is equal in every run: give its id instead") from None
    return str(uuid.uuid5(_NAMESPACE, encode([operation_id, *value]).decode()))


def _place(name: str) -> str:
    return f"once({shortened(name)})"


def _check(fn: object, unknown: object) -> None:
    if not callable(fn):
        raise TypeError(f"once() needs a function to call, such as lambda: send(mail), not {fn!r:.80}")
    if unknown not in ("raise", "retry") and not callable(unknown):
        raise ValueError(f"unknown must be 'raise', 'retry' or a function that looks, not {unknown!r:.80}")


def _unknown(key: str | int, reason: str) -> UnknownOutcomeError:
    return UnknownOutcomeError(
        reason,
        key,
        [
            "find out, and say so:  unknown=lambda: its_result  (None if it has not happened)",
            'do it again, though it may then happen twice:  unknown="retry"',
        ],
    )


def _who() -> object:
    """The current task, or else the current thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.current_thread() if task is None else task
