"""What a person reads of a run and of a stored checkpoint.

A run: ``reporter`` observes it, ``forecast`` estimates the time left, ``progress`` shows lines of ``bar``, and
``messages`` holds the sentences. Stored checkpoints: ``scan`` reads them, ``summary``, ``shards`` and ``contents`` say
how they stand and what they hold, and ``wording`` puts it in words.
"""

__all__ = ["bar", "contents", "forecast", "messages", "progress", "reporter", "scan", "shards", "summary", "wording"]
