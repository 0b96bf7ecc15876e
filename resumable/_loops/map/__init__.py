"""Many items at a time: in the loop's own thread, on an executor, or in asyncio tasks.

Read ``inline`` first, where ``map`` begins, then ``map_loop``, which knows what is to be worked on, and ``results``,
what happens around the loop's body. ``pool`` works over ``executors`` (``clusters`` makes Dask and Ray look like one),
``tasks`` under asyncio; ``calls`` is what runs where the work is done. ``grace`` is the time that a stop leaves to
what is under way.
"""

__all__ = ["calls", "clusters", "executors", "grace", "inline", "map_loop", "pool", "results", "tasks"]
