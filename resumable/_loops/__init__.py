"""Which items are done: by position, by key, page by page, or out of order.

Read ``remaining`` first, or ``remaining_async``: it iterates, and knows at every moment which items are done;
``small`` does so for few items; ``consumers`` may go through it, and ``bodies`` may lose what it gives. ``loop`` is
what it tells that to, as one of four kinds: ``by_position``, ``by_key``, ``by_page``, ``out_of_order``. ``pages``
fetches what is in the pages of a server. ``registry`` holds the loops of a checkpoint, ``levels`` which items have
loops inside them, ``running`` knows which runs inside which, ``apart`` what is held back where several run at a time,
and ``again`` what is written again when they go on; a ``view`` is one of them as a save sees it, ``sites`` are where
they are made, ``place`` reads from the bytecode where that is, ``edited`` finds them again after an edit, ``program``
says what is in it now. ``sources`` says what can be iterated over again, ``fingerprint`` whether it is still the same
input, ``values`` what an item is worth that JSON cannot hold. ``failed`` are the items that have failed, ``failing``
gives them out again. ``standing`` tells people how they stand. ``map`` is the room for many items at a time.
"""

__all__ = [
    "again",
    "apart",
    "bodies",
    "by_key",
    "by_page",
    "by_position",
    "consumers",
    "edited",
    "failed",
    "failing",
    "fingerprint",
    "levels",
    "loop",
    "map",
    "out_of_order",
    "pages",
    "place",
    "program",
    "registry",
    "remaining",
    "remaining_async",
    "running",
    "sites",
    "small",
    "sources",
    "standing",
    "values",
    "view",
]
