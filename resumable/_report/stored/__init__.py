"""What a stored checkpoint holds and how it stands, for people and other programs.

``scan`` reads it; ``summary``, ``shards`` and ``contents`` say how it stands and what it holds, and ``wording`` turns
that into words. For other programs there is ``reading``; ``table`` makes rows and columns of a collection, and
``frames`` converts them to pandas, polars, Parquet, CSV and JSON lines.
"""

__all__ = ["contents", "frames", "reading", "scan", "shards", "summary", "table", "wording"]
