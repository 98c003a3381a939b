"""Runs the `distflow` command as `python -m distflow_launcher`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
