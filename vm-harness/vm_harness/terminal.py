"""The user's terminal joined to a VM's console."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty

from vm_harness.vm import Vm

__all__ = ["attach"]

ESCAPE = b"\x1d"  # Ctrl-]


def attach(vm: Vm) -> None:
    """Pass keys to ``vm`` and its output to stdout until Ctrl-], end of input or power-off."""
    vm.console.on_data(_show)
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard) if os.isatty(keyboard) else None
    try:
        if before:
            tty.setraw(keyboard, termios.TCSADRAIN)  # keys typed already are kept
        while not vm.console.ended:
            if not select.select([keyboard], [], [], 0.2)[0]:
                continue
            keys = os.read(keyboard, 4096)
            typed, escape, _ = keys.partition(ESCAPE)
            vm.send(typed.decode(errors="replace"))
            if escape or not keys:
                return
    finally:
        if before:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
