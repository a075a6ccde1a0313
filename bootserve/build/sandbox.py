"""Run a definition's script inside a root: no network, no devices but the harmless, no host name.

The name spaces are made by unshare(1), as root or inside a user name space.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bootserve.build.run import BuildFailed, build_environment, run
from bootserve.errors import InvalidInput

__all__ = ["run_script"]

# $1 the root, $2 the script. /tmp, /run and /dev are the script's own and vanish with it.
_ENTER = r"""
set -eu
root=$1 script=$2
hostname localhost
mount -t tmpfs -o mode=755 dev "$root/dev"
for name in null zero full random urandom; do
    : > "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 run "$root/run"
cp "$script" "$root/run/script"
chmod 755 "$root/run/script"
exec chroot "$root" /run/script
"""


def run_script(tree: Path, script: Path, *, epoch: int, on_line: Callable[[str], None]) -> None:
    """Run ``script`` in the chroot ``tree``, its output going to ``on_line``.

    Raises InvalidInput with its last words when it ends with an error.
    """
    spaces = ["--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    argv = ["unshare", *spaces, "sh", "-c", _ENTER, "sh", str(tree), str(script)]
    environment = build_environment({"SOURCE_DATE_EPOCH": str(epoch), "HOME": "/root"})
    try:
        run(argv, on_line=on_line, env=environment)
    except BuildFailed as error:
        raise InvalidInput(
            f"the definition's script {script.name} failed", hint=str(error)
        ) from None
