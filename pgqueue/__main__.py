"""python -m pgqueue: the command line, where its script is not on the PATH."""

import sys

from pgqueue.cli import main

if __name__ == "__main__":
    sys.exit(main())
