"""Removes a lab when its owner ends without having done so.

``python -m vm_harness.reaper ID`` reads its stdin to the end, which comes when the owner closes the
other end of the pipe: in order, or because the kernel did so for a process that was killed.
"""

from __future__ import annotations

import subprocess
import sys

from vm_harness.registry import remove

__all__ = ["Reaper"]


class Reaper:
    """The owner's side: a process that outlives the owner just long enough to clean up."""

    def __init__(self, lab_id: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vm_harness.reaper", lab_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def stand_down(self) -> None:
        """End it without a removal: the lab is gone, or is to stand without an owner."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"stand down\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait(timeout=30)


def main() -> None:
    """Wait for the owner's word or end; remove the lab unless told to stand down."""
    if not sys.stdin.buffer.read():
        remove(sys.argv[1])


if __name__ == "__main__":
    main()
