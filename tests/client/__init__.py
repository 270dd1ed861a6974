"""Looking up jobs and acting on them, on a real server."""
