"""One run of one operation: open it, check in between items, save, close."""
