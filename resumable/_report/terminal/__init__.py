"""What a terminal shows of a run: the bar, and the lines above it.

Read ``reporter`` first, which observes the run. ``progress`` shows it with the lines of ``bar``, and ``forecast``
estimates the time left. ``screen`` and ``drawing`` keep these below the program's output. ``telling`` prints or logs
each sentence once.
"""

__all__ = ["bar", "drawing", "forecast", "progress", "reporter", "screen", "telling"]
