"""What keeps the tables in order besides the jobs: each is a step, called by the loop."""
