# /// script
# requires-python = ">=3.11"
# dependencies = ["copier==9.19.1", "packaging", "pyyaml"]
# ///
"""Update many projects: the old name of `update.py`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    script = str(Path(__file__).resolve().with_name("update.py"))
    os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])
