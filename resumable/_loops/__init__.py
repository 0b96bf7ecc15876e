"""Which items are done: by position, by key, page by page, or out of order.

Read ``remaining`` first, or ``remaining_async``: it iterates, and knows at every moment which items are done. ``loop``
is the base class. The rooms inside: ``inputs`` is what a loop iterates over, ``ledgers`` keep the done items,
``places`` tell where in the program a loop is made, ``small`` has loops over few items at low cost, ``map`` is for many
items at a time, ``advice`` warns.

``registry`` holds the loops of a checkpoint, ``levels`` the loops inside items of other loops. ``running`` knows which
loop runs inside which, ``apart`` holds back the writes of loops that run at the same time, and ``again`` detects rows
that a resumed loop writes again. A ``view`` is one loop as a save sees it. ``sites`` are the places where loops are
made, ``edited`` finds one again after an edit. ``pages`` fetches pages from a server. ``failing`` hands out failed
items again. ``consumers`` detects who iterates ahead of the work. ``standing`` describes the progress to people.
"""

__all__ = [
    "advice",
    "again",
    "apart",
    "consumers",
    "edited",
    "failing",
    "inputs",
    "ledgers",
    "levels",
    "loop",
    "map",
    "pages",
    "places",
    "registry",
    "remaining",
    "remaining_async",
    "running",
    "sites",
    "small",
    "standing",
    "view",
]
