"""Pages of the guide that run: each shows one way to use ``resumable``, and is run by a test."""
