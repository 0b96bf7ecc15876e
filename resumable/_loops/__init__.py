"""Which items are done: by position, by key, or out of order."""
