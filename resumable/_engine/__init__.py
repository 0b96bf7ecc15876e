"""One run of one operation: open it, check in between items, save, close.

Read ``operation`` first: it holds the others, and says what happens when. ``options`` is what it was asked for,
``opening`` how it restores its checkpoint, ``owning`` how it owns it, ``parts`` what belongs to it, ``session``
decides whether a save is due. ``quota`` knows what is left of the API's and waits where nothing is, ``limits`` how
long the run may take and what it may spend, ``stops`` whether it is to stop, ``presence`` what others see of it and
ask; ``beginning`` knows whether it has come to its work, ``ending`` says how the block ends, and ``history`` what is
told of the runs. A save goes from ``capture``, one instant encoded or copied, the end of the last done item, to
``writer``, which makes it a line of the journal or a whole ``document``, perhaps in a thread (``background``).
``guard`` keeps the last good one between two saves, for when a value comes that cannot be saved. ``artifacts`` writes
the files that saves name, and sweeps those that none can. ``unsaved`` keeps here what a store that is away cannot take.
"""

__all__ = [
    "artifacts",
    "background",
    "beginning",
    "capture",
    "document",
    "ending",
    "guard",
    "history",
    "limits",
    "opening",
    "operation",
    "options",
    "owning",
    "parts",
    "presence",
    "quota",
    "session",
    "stops",
    "unsaved",
    "writer",
]
