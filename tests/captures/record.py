"""Records what real firmware says over DHCP: ``python tests/captures/record.py [SCENARIO ...]``.

Needs root. Each scenario boots one VM (TCG) on a bridge in a namespace of its own, with dnsmasq as
the DHCP server that knows nothing of us, and this package's DhcpServer beside it, until the VM has
fetched its script (or for a fixed time). The DHCP packets, or the first ones of TFTP, go to
``SCENARIO.pcap`` beside this file; ``pytest tests/captures --rewrite-golden`` then writes their
text. ``arm64-pxe10`` needs Debian's qemu-system-arm and qemu-efi-aarch64, or ``ARM_ROOT`` naming a
directory that they are unpacked in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web

from bootserve.core.offers import Ignored, OfferSettings, OfferTarget, Reply, answer
from bootserve.core.responder import Answer
from bootserve.model.shape import Shape
from bootserve.servers.dhcp import DhcpEvent, DhcpServer
from bootserve.wire.dhcp import MessageType, build, parse
from bootserve.wire.pxe import ClientArch

HERE = Path(__file__).resolve().parent
MAC = "52:54:00:0b:00:01"
UUID = "00112233-4455-6677-8899-aabbccddeeff"
SERVER = "10.77.0.1"
ARM_ROOT = os.environ.get("ARM_ROOT", "")
NBPS = {
    ClientArch.BIOS: "undionly.kpxe",
    ClientArch.EFI_X64: "ipxe.efi",
    ClientArch.EFI_ARM64: "snponly-arm64.efi",
}


@dataclass(frozen=True)
class Scenario:
    """A VM and what surrounds it.

    ``seconds`` bounds it, ``addresses`` runs the DHCP server, ``bare`` takes server and file out
    of every offer, which sends iPXE to port 4011 for them. tcpdump is told to keep ``kept``.
    ``nbp``, if any, is in place of every NBP.
    """

    firmware: str
    shape: Shape = "pxe10"
    seconds: float = 90
    addresses: bool = True
    bare: bool = False
    kept: tuple[str, ...] = ("udp and (port 67 or port 68 or port 4011)",)
    nbp: bytes = b""


SCENARIOS = {
    "bios-ipxe-rom": Scenario("bios"),
    "bios-ipxe-4011": Scenario("bios", bare=True),
    "uefi-pxe10": Scenario("uefi"),
    "uefi-binl": Scenario("uefi", "binl"),
    "uefi-http": Scenario("uefi-http"),
    "bios-no-address": Scenario("bios", seconds=45, addresses=False),
    "uefi-no-address": Scenario("uefi", seconds=45, addresses=False),
    "arm64-pxe10": Scenario("arm64", seconds=60),
    "tftp-uefi": Scenario("uefi", seconds=30, kept=("-c", "20", "udp port 69"), nbp=bytes(9000)),
}


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def ip(*arguments: str) -> None:
    run("ip", *arguments)


@contextlib.contextmanager
def lab(prefix: str) -> Iterator[None]:
    """A switch with a tap, and two machines on it: the DHCP server's and ours."""
    names = [f"{prefix}-{part}" for part in ("sw", "dhcp", "boot")]
    switch = names[0]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "br0", "type", "bridge", "stp_state", "0")
        ip("-n", switch, "link", "set", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", switch, "tuntap", "add", "tap0", "mode", "tap")
        ip("-n", switch, "link", "set", "tap0", "master", "br0", "up")
        for number, name in enumerate(names[1:], start=2):
            port = f"p{number}"
            mac = f"02:00:00:00:00:{number:02x}"
            ip("-n", name, "link", "add", "eth0", "address", mac, "type", "veth",
               "peer", "name", port, "netns", switch)  # fmt: skip
            ip("-n", switch, "link", "set", port, "master", "br0", "up")
            ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", names[1], "addr", "add", "10.77.0.2/24", "dev", "eth0")
        ip("-n", names[1], "addr", "add", "fd77::2/64", "dev", "eth0", "nodad")
        ip("-n", names[2], "addr", "add", f"{SERVER}/24", "dev", "eth0")
        ip("-n", switch, "link", "set", "br0", "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


@contextlib.contextmanager
def running(namespace: str, *command: str, log: Path | None = None) -> Iterator[None]:
    """A process in ``namespace``, ended on the way out."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("w")) if log else None
        process = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def files_served(folder: Path, nbp: bytes) -> None:
    """Lay out what the VM fetches: NBPs by TFTP and HTTP, and a script that waits."""
    for name in ("undionly.kpxe", "ipxe.efi"):
        for place in (folder, folder / "nbp"):
            place.mkdir(exist_ok=True)
            (place / name).write_bytes(nbp or Path(f"/usr/lib/ipxe/{name}").read_bytes())
    (folder / "boot").mkdir()
    script = folder / "boot" / f"{MAC.replace(':', '-')}.ipxe"
    script.write_text("#!ipxe\nsleep 600\n")


def qemu(firmware: str, folder: Path) -> list[str]:
    arm = firmware == "arm64"
    rom = "" if firmware == "bios" else ",romfile="
    command = [
        f"{ARM_ROOT}/usr/bin/qemu-system-aarch64" if arm else "qemu-system-x86_64",
        "-machine", "virt" if arm else "q35", "-accel", "tcg,tb-size=64", "-m", "512",
        "-nographic", "-nodefaults", "-serial", f"file:{folder}/serial.log", "-uuid", UUID,
        "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=n0,mac={MAC},bootindex=1{rom}",
    ]  # fmt: skip
    if firmware == "bios":
        return command
    aavmf = f"{ARM_ROOT}/usr/share/AAVMF/AAVMF"
    code, store = (
        (f"{aavmf}_CODE.fd", f"{aavmf}_VARS.fd")
        if arm
        else ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")
    )
    shutil.copy(store, folder / "vars.fd")
    command += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}",
                "-drive", f"if=pflash,format=raw,file={folder}/vars.fd"]  # fmt: skip
    if arm:
        command += ["-cpu", "cortex-a57"]
    if firmware == "uefi-http":
        for family in ("IPv4", "IPv6"):
            command += ["-fw_cfg", f"name=opt/org.tianocore/{family}PXESupport,string=n"]
    return command


def record(name: str, scenario: Scenario) -> None:
    prefix = f"bscap{os.getpid()}"
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        folder.chmod(0o755)
        (folder / "www").mkdir()
        files_served(folder / "www", scenario.nbp)
        stack.enter_context(lab(prefix))
        switch, dhcp, boot = (f"{prefix}-{part}" for part in ("sw", "dhcp", "boot"))
        if scenario.addresses:
            stack.enter_context(
                running(dhcp, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
                        "--port=0", "--interface=eth0", "--bind-interfaces", "--enable-ra",
                        "--dhcp-range=10.77.0.100,10.77.0.199,1h", "--dhcp-range=fd77::,ra-only",
                        f"--dhcp-leasefile={folder}/leases", "--log-facility=-",
                        "--no-ping", log=folder / "dhcp.log")
            )  # fmt: skip
        www = str(folder / "www")
        stack.enter_context(
            running(boot, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
                    "--user=root", "--enable-tftp", "--tftp-single-port", f"--tftp-root={www}",
                    "--log-facility=-", log=folder / "tftp.log")
        )  # fmt: skip
        stack.enter_context(running(boot, sys.executable, __file__, "serve", name, www))
        capture = HERE / f"{name}.pcap"
        stack.enter_context(
            running(switch, "tcpdump", "-Z", "root", "-i", "tap0", "-U", "-q", "-w", str(capture),
                    *scenario.kept)
        )  # fmt: skip
        time.sleep(1.5)
        started = time.monotonic()
        stack.enter_context(running(switch, *qemu(scenario.firmware, folder)))
        while time.monotonic() - started < scenario.seconds:
            if (folder / "www" / "fetched").exists():
                time.sleep(0.5)
                break
            time.sleep(0.2)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)


def bare(reply: Reply | Ignored) -> Reply | Ignored:
    """The same reply; an OFFER names neither server nor file."""
    if not isinstance(reply, Reply):
        return reply
    packet = parse(reply.data)
    if packet.message_type != MessageType.OFFER:
        return reply
    options = {code: value for code, value in packet.options.items() if code not in (43, 67)}
    return replace(reply, data=build(replace(packet, siaddr=bytes(4), file=b"", options=options)))


async def serve(scenario: Scenario, www: Path) -> None:
    """Be the boot server: DhcpServer, and the NBPs and script by HTTP."""
    settings = OfferSettings(SERVER, f"http://{SERVER}:8080", NBPS, shape=scenario.shape)

    def handler(data: bytes, port: int, _now: float) -> Answer:
        reply = answer(data, port=port, settings=settings, lookup=OfferTarget)
        return Answer(bare(reply) if scenario.bare else reply)

    started = time.monotonic()

    def told(event: DhcpEvent) -> None:
        seconds = time.monotonic() - started
        print(f"{seconds:7.3f} {event.port} {event.kind} {event.reason}", flush=True)

    async def file(request: web.Request) -> web.FileResponse:
        print(f"{time.monotonic() - started:7.3f} {request.method} {request.path}", flush=True)
        if request.path.startswith("/boot/"):
            (www / "fetched").touch()
        return web.FileResponse(www / request.path.lstrip("/"))

    app = web.Application()
    app.router.add_get("/nbp/{name}", file)
    app.router.add_get("/boot/{name}", file)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, SERVER, 8080).start()
    await DhcpServer(
        interface="eth0", address=SERVER, handler=handler, on_event=told, on_offers=print
    ).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(SCENARIOS[sys.argv[2]], Path(sys.argv[3])))
    else:
        for wanted in sys.argv[1:] or SCENARIOS:
            record(wanted, SCENARIOS[wanted])
