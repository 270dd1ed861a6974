"""One program for each peer: its schema, its producer, its task, and how its worker is started.

Each runs in the peer's own environment, as `python -m benchmarks.peers.programs NAME ...`, and
imports nothing of pgqueue. A module has `install()`, `enqueue(one, many)` and `worker()`.
"""
