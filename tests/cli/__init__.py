"""The command line, in process where that is quick, as a process where it matters."""
