"""What pgqueue costs, measured against what PostgreSQL can do: `python -m benchmarks`."""
