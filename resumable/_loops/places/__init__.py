"""Where in the program a loop is made, so that the next run finds it again.

``place`` reads the place from the frames and their bytecode, ``spots`` recognizes the frames that were there before,
``program`` searches the functions that exist now.
"""

__all__ = ["place", "program", "spots"]
