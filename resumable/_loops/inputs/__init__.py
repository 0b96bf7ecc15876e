"""What a loop iterates over, and whether it is what it was in the run before.

``sources`` says what can be iterated a second time and what cannot, ``fingerprint`` whether it is still the same input,
and ``values`` digests items that JSON cannot hold: arrays, frames, rows, objects.
"""

__all__ = ["fingerprint", "sources", "values"]
