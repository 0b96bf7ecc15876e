"""Observers hear what the engine tells them, while they are installed."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import pytest

from resumable._runtime import observer
from resumable._runtime.observer import Observer, installed


def test_observers_are_current_within_their_block_in_the_order_of_installation() -> None:
    first, second = Observer(), Observer()
    with installed(first):
        with installed(second):
            assert [first, second] == observer.INSTALLED
        assert [first] == observer.INSTALLED
    assert observer.INSTALLED == []


def test_an_observer_leaves_when_its_block_fails() -> None:
    with pytest.raises(KeyError), installed(Observer()):
        raise KeyError
    assert observer.INSTALLED == []


def test_every_thread_sees_the_observers_of_the_process() -> None:
    seen: list[Any] = []
    one = Observer()
    with installed(one):
        thread = threading.Thread(target=lambda: seen.extend(observer.INSTALLED))
        thread.start()
        thread.join()
    assert seen == [one]


def test_the_base_class_changes_nothing_and_says_when_it_is_called() -> None:
    options = object()
    assert Observer().configure(options) is options

    for name, method in inspect.getmembers(Observer, inspect.isfunction):
        assert "alled" in inspect.getdoc(method), name  # type: ignore[operator]
        if name != "configure":
            arguments: list[Any] = [None] * (len(inspect.signature(method).parameters) - 1)
            assert getattr(Observer(), name)(*arguments) is None
