"""Fixtures and doubles that several tests use."""
