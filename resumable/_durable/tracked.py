"""Objects of the program that go with the checkpoint: random generators, loaders, schedulers.

Their states are noted whenever an item has ended, for each loop that the program is in: a save within an item holds the
state at that item's beginning. A run that goes on begins the items of the outer loops again, so each loop sets the
objects to what they were at its own place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .._errors import StateEncodeError
from .._json import check, decode, encode_spelled, step, unspelled

_MOST = 64
"""So many moments are kept at most; the second one goes first."""
_AT_END = -1
_ADVICE = "cp.track takes plain JSON only; for what is large, or a tensor, use an artifact: cp.artifact(name)"


class Moment(msgspec.Struct, array_like=True):
    """The states of all objects where a loop stands.

    Attributes:
        loop: Its name; "" where items are ticked by hand.
        position: How many of its items are done; -1 once it has come to its end.
        depth: How many loops are around it, with itself.
        states: By the name of the object.
    """

    loop: str
    position: int
    depth: int
    states: dict[str, Any]


class Tracked:
    """The objects that a program has asked to track.

    Args:
        saved: What an earlier run has saved, in its order.
    """

    def __init__(self, saved: list[Moment]) -> None:
        self.moments = saved
        self._unmet = {moment.loop for moment in saved}
        self._held: dict[str, tuple[Any, int, _Form]] = {}

    def track(self, obj: Any, name: str | None, attempt: int) -> None:
        """Save *obj* from now on; where its name is known, bring it to what is known of it.

        Args:
            attempt: Of the decorated function. A later one may take the names of an earlier one.

        Raises:
            TypeError: Its state can be neither read nor set, or *name* is no str.
            ValueError: Another object has the name; or what is saved does not fit it.
            StateEncodeError: Its state is no plain JSON.
        """
        form = form_of(obj)
        name = form.name if name is None else name
        if type(name) is not str:
            raise TypeError(f"the name of a tracked object must be a str, not {name!r:.80}")
        before = self._held.get(name)
        if before is not None and before[0] is not obj and before[1] == attempt:
            raise ValueError(f"another object is tracked as {name!r}; give each a name: cp.track(obj, name=...)")
        now = _encoded(form, name)
        known = [moment for moment in self.moments if name in moment.states]
        if known and (before is None or before[0] is not obj):
            least = min(moment.depth for moment in known)
            _set(form, name, [moment for moment in known if moment.depth == least][-1].states[name])
        self._held[name] = (obj, attempt, form)
        self.moments = self.moments or [Moment("", 0, 1, {})]
        for moment in self.moments:
            moment.states.setdefault(name, now)

    def note(self, loop: str, position: int, depth: int) -> None:
        """*loop* is between two items: what the objects are now belongs to its place. If it goes on, set them to that.

        Raises:
            StateEncodeError: The state of one is no longer plain JSON.
        """
        found = next((index for index, moment in enumerate(self.moments) if moment.loop == loop), None)
        if loop in self._unmet:
            self._unmet.discard(loop)
            if found is not None and self.moments[found].position == position:
                self._set_all(self.moments[found].states)
                return
        elif found is not None and self.moments[found].position == position and self._is_awaited(found + 1):
            return  # told twice of one place, as loops by key do that pass over what is done
        if found is None:
            found = len(self.moments)
            while found and self.moments[found - 1].depth > depth:
                found -= 1
        states = dict(self.moments[found].states) if found < len(self.moments) else {}
        states |= {name: _encoded(form, name) for name, (_, _, form) in self._held.items()}
        self._unmet -= {moment.loop for moment in self.moments[found:]}
        self.moments = [*self.moments[:found], Moment(loop, position, depth, states)]
        if len(self.moments) > _MOST:
            del self.moments[1]

    def _is_awaited(self, start: int) -> bool:
        """Whether a loop inside is still to begin again where it stood."""
        return any(moment.loop in self._unmet for moment in self.moments[start:])

    def note_end(self, loop: str, depth: int) -> None:
        """*loop* has come to its end. See :meth:`note`."""
        self.note(loop, _AT_END, depth)

    def _set_all(self, states: Mapping[str, Any]) -> None:
        for name, (_, _, form) in self._held.items():
            if name in states:
                _set(form, name, states[name])


# -- what can be tracked ----------------------------------------------------------------------------------------------


class _Form(msgspec.Struct, frozen=True):
    """How the state of an object is read and set; its *name* if the program gives it none."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def form_of(obj: Any) -> _Form:
    """How to read and set the state of *obj*.

    Raises:
        TypeError: It has none that is known here.
    """
    own = getattr(obj, "__name__", None)
    name = own if isinstance(own, str) else type(obj).__name__
    if hasattr(inner := getattr(obj, "bit_generator", None), "state"):
        obj = inner
    if hasattr(obj, "state_dict") and hasattr(obj, "load_state_dict"):
        return _Form(name, obj.state_dict, obj.load_state_dict)
    if hasattr(obj, "getstate") and hasattr(obj, "setstate"):
        return _Form(name, obj.getstate, lambda saved: obj.setstate(_as_tuples(saved)))
    if hasattr(obj, "get_rng_state") and hasattr(obj, "set_rng_state"):
        return _of_tensors(name, obj.get_rng_state, obj.set_rng_state)
    if hasattr(obj, "get_state") and hasattr(obj, "set_state"):
        if (own or type(obj).__module__).startswith("numpy."):
            return _Form(name, lambda: _without_arrays(obj.get_state(legacy=False)), obj.set_state)
        return _of_tensors(name, obj.get_state, obj.set_state)
    if isinstance(state := getattr(obj, "state", None), dict) and "bit_generator" in state:
        return _Form(name, lambda: _without_arrays(obj.state), lambda saved: setattr(obj, "state", saved))
    raise TypeError(
        f"a {type(obj).__name__} has no state that cp.track can read and set: it takes random generators of random, "
        "numpy and torch, and what has state_dict() and load_state_dict()"
    )


def _of_tensors(name: str, read: Callable[[], Any], write: Callable[[Any], object]) -> _Form:
    """A generator of torch, whose state is a tensor of bytes."""

    def plain() -> Any:
        state = read()
        return state.tolist() if hasattr(state, "new_tensor") else state

    def put(saved: Any) -> None:
        state = read()
        write(state.new_tensor(saved) if hasattr(state, "new_tensor") else saved)

    return _Form(name, plain, put)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _without_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_arrays(item) for name, item in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _encoded(form: _Form, name: str) -> msgspec.Raw:
    where = f"$.tracked{step(name)}"
    try:
        state = form.read()
        check(state, where, nan=True)
        return msgspec.Raw(encode_spelled(state, where))
    except StateEncodeError as error:
        # Optimizers of torch have tensors there, by number.
        reason = error.reason.removesuffix(". Use str(key)")
        raise StateEncodeError(error.path, f"{reason}. {_ADVICE}") from None
    except NotImplementedError as error:  # random.SystemRandom
        raise TypeError(f"{name} has no state that can be saved: {error}") from None


def _set(form: _Form, name: str, saved: Any) -> None:
    try:
        form.write(unspelled(decode(bytes(saved)) if isinstance(saved, msgspec.Raw) else saved))
    except Exception as error:
        raise ValueError(f"the saved state of {name!r} does not fit it: {error}") from error
