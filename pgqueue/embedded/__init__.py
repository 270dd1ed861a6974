"""An embedded PostgreSQL server, for development and tests only."""

from pgqueue.embedded.programs import wheel_bin_dir
from pgqueue.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "wheel_bin_dir"]
