"""Run one step of a peer: `python -m benchmarks.peers.programs NAME install|enqueue|work`.

`enqueue ONE MANY` prints the seconds that both took, as JSON. `work` becomes the peer's worker.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    name, step, *counts = sys.argv[1:]
    program = importlib.import_module(f"benchmarks.peers.programs.{name}")
    if step == "install":
        program.install()
    elif step == "enqueue":
        print(json.dumps(program.enqueue(*map(int, counts))._asdict()))
    else:
        command, *options = program.worker()
        # The commands that a package installs stand beside its interpreter.
        path = str(Path(sys.executable).with_name(command))
        os.execv(path, [path, *options])


main()
