"""Between the types of a handler's annotations and JSON; compiled once, when it is registered."""
