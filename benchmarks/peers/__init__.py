"""pgqueue beside its peers, each in its own environment: `python -m benchmarks peers`."""
