"""An app whose import, in a worker's process, says so in a file and then never ends."""

import os
import sys
import threading
from pathlib import Path

from pgqueue import PgQueue

app = PgQueue()

if Path(sys.argv[0]).name == "process.py":
    Path(os.environ["STARTS_SLOWLY"]).touch()
    threading.Event().wait()
