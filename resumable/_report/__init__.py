"""What a person reads of a run and of a stored checkpoint.

A run: ``reporter`` observes it, ``forecast`` estimates the time left, and ``progress`` shows it with the lines of
``bar``. On a terminal, ``screen`` and ``drawing`` keep these below the program's output. ``messages`` has the
sentences; ``telling`` prints or logs each once. ``events`` passes events to functions of the program and to the log;
``otel`` is such a function for OpenTelemetry, and ``supervised`` the one for ``resumable run``. ``presence`` reports a
running job to other processes, by files in ``places``, and receives their requests from ``wishes``; ``live`` reads
both.

A stored checkpoint: ``scan`` reads it; ``summary``, ``shards`` and ``contents`` say how it stands and what it holds;
``wording`` turns that into words. A report: ``course`` has its numbers, ``charts`` draws them, ``page`` is the HTML
with the ``style`` of all pages, ``png`` a picture, ``site`` the pages of ``resumable serve``, ``card`` the view in a
notebook. For other programs there is ``reading``; ``table`` makes rows and columns of a collection, and ``frames``
converts them to pandas, polars, Parquet, CSV and JSON lines.
"""

__all__ = [
    "bar",
    "card",
    "charts",
    "contents",
    "course",
    "drawing",
    "events",
    "forecast",
    "frames",
    "live",
    "messages",
    "otel",
    "page",
    "places",
    "png",
    "presence",
    "progress",
    "reading",
    "reporter",
    "scan",
    "screen",
    "shards",
    "site",
    "style",
    "summary",
    "supervised",
    "table",
    "telling",
    "wishes",
    "wording",
]
