"""What a person reads of a run and of a stored checkpoint.

The rooms inside: ``terminal`` shows a run, ``stored`` reads a checkpoint, ``pages`` makes reports of it. ``messages``
has the sentences, and ``card`` is the view in a notebook, of both.

``events`` passes events to functions of the program and to the log; ``otel`` is such a function for OpenTelemetry, and
``supervised`` the one for ``resumable run``. ``presence`` reports a running job to other processes, by files in
``places``, and receives their requests from ``wishes``; ``live`` reads both.
"""

__all__ = [
    "card",
    "events",
    "live",
    "messages",
    "otel",
    "pages",
    "places",
    "presence",
    "stored",
    "supervised",
    "terminal",
    "wishes",
]
