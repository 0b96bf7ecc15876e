"""One run of one operation: open it, check in between items, save, close.

Read ``operation`` first: it holds the others, and says what happens when. ``options`` is what it was asked for,
``opening`` how it claims and restores its checkpoint, ``session`` decides whether a save is due, and ``quota`` whether
to wait for the API. A save goes from ``capture``, one instant encoded or copied, to ``writer``, which makes it a line
of the journal or a whole ``document``, perhaps in a thread (``background``).
"""

__all__ = ["background", "capture", "document", "opening", "operation", "options", "quota", "session", "writer"]
