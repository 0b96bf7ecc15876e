"""Many items at a time: in the loop's thread, on an executor, or in asyncio tasks."""
