"""The demonstration: real documents, real workers, one of them killed, and the sums that hold."""
