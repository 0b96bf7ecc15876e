"""One run of one operation: open it, check in between items, save, close.

Read ``operation`` first: it holds the other parts and calls them in order. ``options`` are the user's arguments,
``opening`` restores the checkpoint, ``owning`` claims it, ``parts`` holds everything that is saved, ``session`` decides
whether a save is due. ``quota`` tracks the API's quota and waits when it is used up, ``limits`` bounds the run's time
and budget, ``stops`` handles requests to pause or stop, ``presence`` shows the run to other processes and receives
their requests. ``beginning`` detects whether the program has reached its first loop, ``ending`` decides how the block
ends, and ``history`` keeps the record of all runs. ``capture`` makes a save: one instant, the end of the last done
item, encoded or copied. ``writer`` stores it as a journal record or as a whole ``document``, perhaps in a thread
(``background``); ``digest`` hashes a large one meanwhile. ``ahead`` takes many new records before the save that will
write them. ``guard`` keeps the last good save in memory, in case a later value cannot be saved. ``artifacts`` writes
the files that saves name, and removes those that no save names. ``unsaved`` keeps on this machine what an unreachable
store cannot take. ``headings`` leaves out rows before the first tick that an earlier run has written, ``first_item``
finds where the first item of a program that ticks begins, ``nested`` warns of rows that an inner block writes to an
outer one. ``unkept`` warns of results that do not reach the checkpoint.
"""

__all__ = [
    "ahead",
    "artifacts",
    "background",
    "beginning",
    "capture",
    "digest",
    "document",
    "ending",
    "first_item",
    "guard",
    "headings",
    "history",
    "limits",
    "nested",
    "opening",
    "operation",
    "options",
    "owning",
    "parts",
    "presence",
    "quota",
    "session",
    "stops",
    "unkept",
    "unsaved",
    "writer",
]
