"""Which items are done: by position, by key, or out of order.

Read ``remaining`` first: it iterates, and knows at every moment which items are done. ``loop`` is what it tells that
to, as one of three kinds: ``by_position``, ``by_key``, ``out_of_order``. ``registry`` holds the loops of a checkpoint
and knows which runs inside which; ``sources`` says what can be iterated over again, ``fingerprint`` whether it is
still the same input. ``map`` is the room for many items at a time.
"""

__all__ = ["by_key", "by_position", "fingerprint", "loop", "map", "out_of_order", "registry", "remaining", "sources"]
