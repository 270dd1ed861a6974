"""Enqueue: jobs as a document (contract), in whose transaction (callers)."""
