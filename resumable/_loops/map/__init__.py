"""Many items at a time: in the loop's own thread, on an executor, or in asyncio tasks.

Read ``inline`` first, where ``map`` begins; then ``map_loop``, which chooses the items, and ``results``, which acts
before and after the loop's body. ``pool`` works over ``executors`` (``clusters`` adapts Dask and Ray), ``tasks`` under
asyncio; ``calls`` runs in the workers. ``grace`` is the time that calls in flight get after a request to stop.
"""

__all__ = ["calls", "clusters", "executors", "grace", "inline", "map_loop", "pool", "results", "tasks"]
