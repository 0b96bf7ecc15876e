"""Which items are done: by position, by key, page by page, or out of order.

Read ``remaining`` first, or ``remaining_async``: it iterates, and knows at every moment which items are done. ``small``
does so for few items at low cost, ``anew`` makes them where one was made before, and ``streak`` where one follows
another. ``consumers`` detects who iterates ahead of the work.
``loop`` is the base class; the done items are kept by one of four ledgers: ``by_position``, ``by_key``, ``by_page``,
``out_of_order``. ``pages`` fetches pages from a server. ``registry`` holds the loops of a checkpoint, ``levels`` the
loops inside items of other loops. ``running`` knows which loop runs inside which, ``apart`` holds back the writes of
loops that run at the same time, and ``again`` detects rows that a resumed loop writes again. A ``view`` is one loop as
a save sees it. ``sites`` are the places where loops are made, ``place`` reads such a place from the bytecode, ``spots``
finds it again by the frames, ``edited`` finds it again after an edit, ``program`` searches the functions that exist
now. ``sources`` says what can be iterated again, ``fingerprint`` whether it is still the same input, ``values`` digests
items that JSON cannot hold. ``failed`` keeps the failed items, ``failing`` hands them out again. ``standing`` describes
the progress to people. ``map`` is the room for many items at a time, ``advice`` that of warnings.
"""

__all__ = [
    "advice",
    "again",
    "anew",
    "apart",
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
    "spots",
    "standing",
    "streak",
    "values",
    "view",
]
