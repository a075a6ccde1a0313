"""Run the tools that builds are made of, line by line, with errors a person can act on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bootserve.errors import BootserveError, StorageFull, Unavailable

__all__ = ["BuildFailed", "build_environment", "os_failure", "output_of", "run"]

_TAIL = 25
_PATIENCE = 20.0  # seconds
_PACKAGES = {
    "apt-config": "apt",
    "apt-get": "apt",
    "chroot": "coreutils",
    "dpkg-deb": "dpkg",
    "mkfs.erofs": "erofs-utils",
    "mksquashfs": "squashfs-tools",
    "mmdebstrap": "mmdebstrap",
    "modinfo": "kmod",
    "tar": "tar",
    "unshare": "util-linux",
    "xz": "xz-utils",
    "zstd": "zstd",
}


class BuildFailed(BootserveError):
    """A tool that the build needs ended with an error; the message carries its last words."""

    kind = "build-failed"


def build_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment for a tool: nothing of the builder's own that shows in output.

    Locale and time zone are fixed; proxies are left out, since what the tools fetch comes from
    this machine.
    """
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/root" if os.geteuid() == 0 else os.environ.get("HOME", "/"),
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "DEBIAN_FRONTEND": "noninteractive",
        **(extra or {}),
    }


def run(
    argv: Sequence[str | Path],
    *,
    on_line: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run ``argv`` to its end, giving each line of its output (both streams) to ``on_line``.

    A carriage return ends a line too, so that progress bars are seen as they move.

    Raises BuildFailed with the last lines when it ends with an error, StorageFull when those say
    that the disk is full, Unavailable when the tool is not installed.
    """
    name, environment = _tool(argv[0], env)
    tail: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=cwd,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            # universal newlines: a bare carriage return is a line end here
            for raw in process.stdout:
                line = raw.rstrip()
                if line:
                    tail.append(line)
                    if on_line:
                        on_line(line)
        except BaseException:
            _stop(process)
            raise
    if process.returncode:
        raise _failure(name, process.returncode, tail)


def output_of(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """Return what ``argv`` writes to its standard output; the errors are those of :func:`run`."""
    name, environment = _tool(argv[0], env)
    done = subprocess.run(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise _failure(name, done.returncode, deque(done.stderr.splitlines(), maxlen=_TAIL))
    return done.stdout


def os_failure(error: OSError) -> BootserveError:
    """Return ``error`` of a file operation as one of ours: StorageFull or BuildFailed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"the disk is full: {error.filename or 'a file'} cannot be written")
    return BuildFailed(str(error))


def _stop(process: subprocess.Popen[str]) -> None:
    """End a tool early; mmdebstrap takes its mounts away when it is asked to end."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _tool(program: str | Path, env: Mapping[str, str] | None) -> tuple[str, dict[str, str]]:
    environment = dict(env) if env is not None else build_environment()
    name = Path(program).name
    if shutil.which(str(program), path=environment.get("PATH")) is None:
        raise Unavailable(
            f"{name} is not installed",
            hint=f"Run: apt-get install {_PACKAGES.get(name, name)}",
        )
    return name, environment


def _failure(name: str, status: int, tail: deque[str]) -> BootserveError:
    said = "\n".join(tail)
    if "No space left on device" in said:
        return StorageFull(f"the disk is full: {name} could not go on", hint=said)
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return BuildFailed(f"{name} ended with {how}:\n{said}")
