#!/usr/bin/env python3
"""The one command of LipSync Studio: `python3 run.py --help` lists what it does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tools.interpreter import ensure_usable_python


def main() -> int:
    """Find a Python that can run the project, then do what the arguments say."""
    ensure_usable_python([str(Path(__file__).resolve()), *sys.argv[1:]])
    # Imported late: these modules use the syntax of Python 3.11, this one that of 3.6.
    from tools.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
