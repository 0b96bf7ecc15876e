"""Objects of the program that are saved with the checkpoint: random generators, loaders, schedulers.

Their states are noted whenever an item ends, for each loop around it: a save inside an item holds the states at that
item's beginning. A resumed run begins the items of outer loops again, so each loop restores the objects to their
states at its own place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .._errors import StateEncodeError
from .._json import check, check_unicode, decode, encode_spelled, step, unspelled

_MOST = 64
"""At most this many moments are kept; the second oldest goes first."""
_AT_END = -1
_ADVICE = "cp.track takes plain JSON only; for what is large, or a tensor, use an artifact: cp.artifact(name)"


class Moment(msgspec.Struct, array_like=True):
    """The states of all objects at one place of a loop.

    Attributes:
        loop: Its name; "" for ticks by hand.
        position: Number of done items; -1 at the end of the loop.
        depth: Number of nested loops, itself included.
        states: By the object's name.
    """

    loop: str
    position: int
    depth: int
    states: dict[str, Any]


class Tracked:
    """The objects that a program tracks.

    Args:
        saved: The moments of an earlier run, in its order.
    """

    def __init__(self, saved: list[Moment]) -> None:
        self.moments = saved
        self._unmet = {moment.loop for moment in saved}
        self._held: dict[str, tuple[Any, int, _Form]] = {}

    def track(self, obj: Any, name: str | None, attempt: int) -> None:
        """Save *obj* from now on; if a state is known for its name, restore it.

        Args:
            attempt: Number of the attempt of the decorated function. A later attempt may use the names again.

        Raises:
            TypeError: The state of *obj* cannot be read and set, or *name* is not a str.
            ValueError: Another object has the name, or the saved state does not fit.
            StateEncodeError: The state is not plain JSON.
        """
        form = form_of(obj)
        name = form.name if name is None else name
        if type(name) is not str:
            raise TypeError(f"the name of a tracked object must be a str, not {name!r:.80}")
        check_unicode(name, "the name of a tracked object", "choose another one")
        before = self._held.get(name)
        if before is not None and before[0] is not obj and before[1] == attempt:
            raise ValueError(
                f"another object is already tracked as {name!r}; give each a name: cp.track(obj, name=...)"
            )
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
        """*loop* is between two items: note the objects' states at its place, or restore them if it resumes there.

        Raises:
            StateEncodeError: A state is no longer plain JSON.
        """
        found = next((index for index, moment in enumerate(self.moments) if moment.loop == loop), None)
        if not loop and position and found is not None and self.moments[found].position == position:
            return  # a save inside an item; what it began with was restored when the objects were tracked
        if loop in self._unmet and loop:
            self._unmet.discard(loop)
            # A loop that has ended may look for more items before it ends again.
            if found is not None and self.moments[found].position in (position, _AT_END):
                self._set_all(self.moments[found].states)
                return
        elif found is not None and self.moments[found].position == position and self._is_awaited(found + 1):
            return  # a second call for one place; loops by key that skip done items make some
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
        """Whether an inner loop will still resume at its place."""
        return any(moment.loop in self._unmet for moment in self.moments[start:])

    def note_end(self, loop: str, depth: int) -> None:
        """*loop* has ended. See :meth:`note`."""
        self.note(loop, _AT_END, depth)

    def _set_all(self, states: Mapping[str, Any]) -> None:
        for name, (_, _, form) in self._held.items():
            if name in states:
                _set(form, name, states[name])


# -- which objects can be tracked


class _Form(msgspec.Struct, frozen=True):
    """How to read and set the state of an object; its *name* if the program gives none."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def form_of(obj: Any) -> _Form:
    """How to read and set the state of *obj*.

    Raises:
        TypeError: No way is known.
    """
    if isinstance(obj, type):
        raise TypeError(f"cp.track takes an object, such as cp.track({obj.__name__}()), not the class {obj.__name__}")
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
        # Optimizers of torch have tensors in there, by number.
        reason = error.reason.removesuffix(". Use str(key)")
        raise StateEncodeError(error.path, f"{reason}. {_ADVICE}") from None
    except NotImplementedError as error:  # random.SystemRandom
        raise TypeError(f"{name} has no state that can be saved: {error}") from None


def _set(form: _Form, name: str, saved: Any) -> None:
    try:
        form.write(unspelled(decode(bytes(saved)) if isinstance(saved, msgspec.Raw) else saved))
    except Exception as error:
        raise ValueError(f"the saved state of {name!r} does not fit it: {error}") from error
