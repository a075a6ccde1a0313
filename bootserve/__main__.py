"""``python -m bootserve``: the same as the command ``bootserve``."""

from __future__ import annotations

import sys

from bootserve.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
