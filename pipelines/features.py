"""MLproject entry point ``features``: the command ``plmsae features``."""

import sys
from pathlib import Path

# This folder gives way to the project's: its file names must not hide other modules.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from plmsae.cli.entry_point import run_entry_point  # noqa: E402 (needs the path above)

if __name__ == "__main__":
    run_entry_point("features")
