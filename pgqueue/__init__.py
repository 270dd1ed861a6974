"""A transactional job queue for Python in your own PostgreSQL."""
