"""Debian's own servers, fetched to a cache and unpacked there, never installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from vm_harness.errors import HarnessError
from vm_harness.net import run

from bench.network import INTERFACE, SERVER

__all__ = ["Peers", "fetch"]

PACKAGES = ["dnsmasq-base", "tftpd-hpa", "atftpd", "nginx", "libwrap0"]
PROGRAMS = ["dnsmasq", "in.tftpd", "atftpd", "nginx"]
NGINX = """
worker_processes 1;
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  server {{
    listen {address}:8080;
    root {root};
    location /boot/ {{ try_files /script.ipxe =404; }}
  }}
}}
"""


class Peers:
    """The commands that start each peer, all with their limits raised and their logging off.

    ``cache`` is where :func:`fetch` unpacked them; ``folder`` takes what they write.
    """

    def __init__(self, cache: Path, folder: Path) -> None:
        self._root = cache / "root"
        self._folder = folder
        multiarch = [path.parent for path in self._root.glob("**/libwrap.so.0")]
        self.env = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, multiarch))}

    def _program(self, name: str) -> str:
        return str(self._root / "usr/sbin" / name)

    def _dnsmasq(self, label: str, *more: str) -> list[str]:
        return [
            self._program("dnsmasq"),
            *("--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"),
            f"--log-facility={self._folder}/dnsmasq-{label}.log",
            f"--pid-file={self._folder}/dnsmasq-{label}.pid",
            *("--bind-interfaces", f"--interface={INTERFACE}", "--no-resolv", "--no-hosts"),
            *more,
        ]

    def dnsmasq_tftp(self, folder: Path) -> list[str]:
        """Return the command of a dnsmasq that serves the files in ``folder`` by TFTP."""
        return self._dnsmasq(
            "tftp", "--enable-tftp", f"--tftp-root={folder}", "--tftp-max=4000", "--quiet-tftp"
        )

    def dnsmasq_dhcp(self, macs: Sequence[str]) -> list[str]:
        """Return the command of a dnsmasq that is a PXE proxy, with a host line for each MAC."""
        hosts = self._folder / f"hosts-{len(macs)}"
        hosts.write_text("".join(f"{mac},set:node\n" for mac in macs))
        proxy = f"--dhcp-range={SERVER},proxy,255.255.255.0"
        service = "--pxe-service=X86-64_EFI,bootserve,ipxe.efi"
        known = [f"--dhcp-hostsfile={hosts}"] if macs else []
        lease = f"--dhcp-leasefile={self._folder}/leases-{len(macs)}"
        quiet = ["--quiet-dhcp", "--no-ping"]
        return self._dnsmasq(f"dhcp-{len(macs)}", proxy, service, lease, *quiet, *known)

    def tftpd_hpa(self, folder: Path) -> list[str]:
        """Return the command of tftpd-hpa: a process for each transfer, without a limit."""
        return [
            self._program("in.tftpd"),
            "-L",
            "-a",
            f"{SERVER}:69",
            "-u",
            "root",
            "-s",
            str(folder),
        ]

    def atftpd(self, folder: Path) -> list[str]:
        """Return the command of atftpd: a thread for each transfer."""
        more = ["--maxthread", "4000", "--verbose=0", "--logfile", f"{self._folder}/atftpd.log"]
        where = ["--user", "root", "--group", "root", "--bind-address", SERVER]
        return [self._program("atftpd"), "--daemon", "--no-fork", *where, *more, str(folder)]

    def nginx(self, root: Path) -> list[str]:
        """Return the command of an nginx with one worker and sendfile that serves ``root``."""
        config = self._folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self._folder, address=SERVER, root=root))
        return [self._program("nginx"), "-e", f"{self._folder}/nginx.log", "-c", str(config)]


def fetch(cache: Path | None = None) -> Path:
    """Return the folder that the peers are unpacked in, fetched by apt-get when they are not yet.

    Raises HarnessError that says what is missing.
    """
    cache = cache or _cache() / "peers"
    missing = [name for name in PROGRAMS if not (cache / "root/usr/sbin" / name).exists()]
    if missing or not list((cache / "root").glob("**/libwrap.so.0")):
        _unpack(cache)
    return cache


def _unpack(cache: Path) -> None:
    debs, root = cache / "debs", cache / "root"
    shutil.rmtree(debs, ignore_errors=True)
    debs.mkdir(parents=True)
    # apt-get writes to its working directory; the sandbox user could not write there
    fetching = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    try:
        run(["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(debs), *fetching], timeout=300)
    except HarnessError as error:
        raise HarnessError(
            f"the peers cannot be fetched: {error} (is apt-get update due?)"
        ) from None
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg", "-x", str(deb), str(root)])
    for name in PROGRAMS:
        said = run(["env", f"LD_LIBRARY_PATH={_libraries(root)}", "ldd", f"{root}/usr/sbin/{name}"])
        lacking = [line.split()[0] for line in said.splitlines() if "not found" in line]
        if lacking:
            raise HarnessError(f"{name} lacks {', '.join(lacking)}: install the package with it")


def _libraries(root: Path) -> str:
    return os.pathsep.join(str(path.parent) for path in root.glob("**/libwrap.so.0"))


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "bootserve"
