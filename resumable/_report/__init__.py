"""What a person reads of a run and of a stored checkpoint.

A run: ``reporter`` observes it, ``forecast`` estimates the time left, and ``progress`` shows lines of ``bar``, on a
terminal by ``screen`` and ``drawing``, below what the program writes. ``messages`` holds the sentences, ``telling``
brings them to people once. ``events`` tells functions of the program and the log what happens, ``otel`` is such a
function for OpenTelemetry, and ``supervised`` tells ``resumable run``. ``presence`` tells other processes that it
works, by files in ``places``, and hears by ``wishes`` what people ask; ``live`` is what they see. Stored checkpoints:
``scan`` reads them, ``summary``, ``shards`` and ``contents`` say how they stand and what they hold, and ``wording``
puts it in words. A report: ``course`` is what it tells, ``charts`` draws that, ``page`` is the HTML with the ``style``
of all pages, ``png`` a picture, ``site`` the pages of ``resumable serve``, ``card`` what a notebook shows. Other
programs get it by ``reading``: ``table`` makes rows and columns of a collection, and ``frames`` hands those to pandas,
polars, Parquet, CSV and JSON lines.
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
