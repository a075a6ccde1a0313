"""The last touch on a root: what every node gets, and nothing that belongs to one machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bootserve.build.tree import Tree

__all__ = ["add_node_side", "forget_builder", "installed_packages", "seal"]

_WANTED = {
    "bootserve-report.service": "multi-user.target",
    "bootserve-heartbeat.service": "multi-user.target",
    "bootserve-deadline.timer": "sysinit.target",
}
_RESOLVED_STUB = "../run/systemd/resolve/stub-resolv.conf"
# Written by the initramfs from the DHCP server's answer.
_INITRAMFS_RESOLV = "../run/bootserve-resolv.conf"
_DECLARED = "usr/lib/bootserve/declared"
_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_OF_ONE_MACHINE = (
    "etc/ssh/ssh_host_*",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/dbus/machine-id",
    "var/lib/dhcp/*",
)
_OF_THE_BUILD = (
    "dev/*",
    "run/*",
    "tmp/*",
    "var/tmp/*",
    "boot/*",
    "vmlinuz*",
    "initrd.img*",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/*-",
    "var/lib/apt/lists/*",
    "var/lib/apt/extended_states",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/dpkg/triggers/Lock",
    "var/cache/apt/*.bin",
    "var/cache/debconf/*",
    "var/cache/ldconfig/*",
)
_STATUS_FIELD = re.compile(r"^(Package|Status|Version): (.*)$", re.MULTILINE)


def forget_builder(tree: Path) -> None:
    """Remove what mmdebstrap copies from the building machine: its name and its resolver."""
    Tree(tree).remove("etc/hostname", "etc/resolv.conf")


def add_node_side(tree: Path, node: Path, epoch: int) -> None:
    """Install the node-side files of ``node`` (its folder ``root/``) and enable their units."""
    root = Tree(tree)
    source = node / "root"
    # a wheel does not keep executable bits; what starts with #! is a program
    modes = {
        path.relative_to(source).as_posix(): "0755"
        for path in source.rglob("*")
        if path.is_file() and path.read_bytes().startswith(b"#!")
    }
    root.add(source, modes, epoch)
    for unit, target in _WANTED.items():
        root.link(f"usr/lib/systemd/system/{target}.wants/{unit}", f"../{unit}")


def seal(tree: Path, *, epoch: int, sources_list: str | None, writable: Sequence[str] = ()) -> None:
    """Take out what belongs to the builder or to one machine, and date everything.

    Identity (machine-id, host name, ssh host keys) is the node's, made or given at boot. Nothing is
    later than ``epoch``; the account database says that passwords were last changed on that day.
    The paths in ``writable`` are declared: the node leaves them out of its drift.
    """
    root = Tree(tree)
    root.remove(*_OF_ONE_MACHINE, *_OF_THE_BUILD)
    root.write(_DECLARED, "".join(f"{path}\n" for path in writable))
    root.empty_files("var/log")
    # empty, not "uninitialized": that would make every boot a first boot, which asks questions
    root.write("etc/machine-id", "", 0o444)
    if sources_list is not None:
        root.write("etc/apt/sources.list", sources_list)
    if not root.path("etc/hosts").exists():
        root.write("etc/hosts", _HOSTS)
    _set_resolver(root)
    _date_passwords(root, epoch)
    # systemd rebuilds caches at every boot when these are older than /usr
    root.write("etc/.updated", "")
    root.write("var/.updated", "")
    root.date(epoch)


def installed_packages(tree: Path) -> dict[str, str]:
    """Return the version of each package that dpkg's status of ``tree`` has installed."""
    status = Tree(tree).target("var/lib/dpkg/status")
    if not status.is_file():
        return {}
    found: dict[str, str] = {}
    for stanza in status.read_text(errors="replace").split("\n\n"):
        fields = {match[1]: match[2] for match in _STATUS_FIELD.finditer(stanza)}
        if fields.get("Status") == "install ok installed":
            found[fields["Package"]] = fields["Version"]
    return found


def _set_resolver(root: Tree) -> None:
    path = root.path("etc/resolv.conf")
    if path.exists() or path.is_symlink():
        return
    resolved = root.target("usr/lib/systemd/systemd-resolved").is_file()
    root.link("etc/resolv.conf", _RESOLVED_STUB if resolved else _INITRAMFS_RESOLV)


def _date_passwords(root: Tree, epoch: int) -> None:
    shadow = root.target("etc/shadow")
    if not shadow.is_file():
        return
    lines = [line.split(":") for line in shadow.read_text().splitlines()]
    for fields in lines:
        if len(fields) > 2:
            fields[2] = str(epoch // 86400)
    shadow.write_text("".join(":".join(fields) + "\n" for fields in lines))
