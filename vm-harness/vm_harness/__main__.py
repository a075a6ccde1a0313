"""``python -m vm_harness`` is ``vm-harness``."""

from __future__ import annotations

from vm_harness.cli import main

main()
