"""What happened, as values, and the one place that words it for logs."""
