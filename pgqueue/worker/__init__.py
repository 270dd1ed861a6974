"""A worker: claims jobs, runs their handlers, records how they end."""
