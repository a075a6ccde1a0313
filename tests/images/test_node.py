"""The node side in real virtual machines: from the initramfs to "up", and each way to fail."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.images.conftest import NodeServer
from tests.support.bundles import built_once, in_erofs

if TYPE_CHECKING:
    from bootserve.build.bundle import Bundle
    from tests.images.conftest import Guest, StartGuest

pytestmark = pytest.mark.vm

NAME = "org.freedesktop.systemd1"
MANAGER = f"{NAME} /{NAME.replace('.', '/')} {NAME}.Manager"
HEALTHY = ["initramfs", "root", "verified", "mounted", "up"]


def test_a_node_boots_and_is_what_its_command_line_says(
    demo_bundle: Bundle, node_server: NodeServer, start_guest: StartGuest
) -> None:
    root = demo_bundle.manifest.artifacts["root"].sha256
    guest = start_guest()
    node_server.wait_for("mounted", 90)
    node_server.stop()
    guest.expect("bootserve: up: demo@7", 120)
    guest.expect("root@node-1", 60)

    assert "0123456789abcdef0123456789abcdef" in guest.run("cat /etc/machine-id")
    assert root in guest.run("sha256sum /dev/loop0")
    modes = guest.run("stat -c '%a %n' /run/bootserve /run/bootserve/token")
    assert "700 /run/bootserve\n" in modes
    assert "600 /run/bootserve/token\n" in modes
    _the_overlay_is_limited(guest, demo_bundle)
    assert "Read-only" in guest.run("touch /run/bootserve/root/x")
    assert "changed" in guest.run("rm /usr/bin/top; echo changed > /etc/motd; cat /etc/motd")
    assert "nameserver 10.0.2.3" in guest.run("cat /etc/resolv.conf")
    assert "10.0.2.15" in guest.run("ip -4 -brief address")
    assert "0 loaded units" in guest.run("systemctl --failed")

    # up is what the node knows itself: its deadline passes it by although no server has heard it
    guest.run("systemctl start bootserve-deadline.service; sleep 7")
    assert "still here" in guest.run("echo still here")
    node_server.start()
    up = node_server.wait_for("up", 90)
    # a report that a busy machine was late with may come after the next one
    assert sorted(node_server.phases()) == sorted(HEALTHY)
    wanted = {"phase": "up", "generation": "demo@7", "root": root}
    assert up.query == {**up.query, **wanted}
    assert up.query.keys() == {*wanted, "uptime", "baseline"}
    assert re.fullmatch("[0-9a-f]{64}", up.query["baseline"])
    assert {report.boot for report in node_server.reports} == {"a-boot"}
    tokens = {report.token for report in node_server.reports}
    assert len(tokens) == 1
    assert re.fullmatch("[0-9a-f]{64}", tokens.pop())

    _another_root_on_the_command_line_is_not_up(guest, node_server, root)

    # its first process hangs: the watchdog, set to less than its two minutes, resets the machine
    assert "Software Watchdog\n120" in guest.run("cd /sys/class/watchdog/*; cat identity timeout")
    assert "30\n" in guest.run("cat /proc/sys/kernel/panic")
    guest.run(f"busctl set-property {MANAGER} RuntimeWatchdogUSec t 6000000")
    guest.type("echo 1 > /sys/fs/cgroup/init.scope/cgroup.freeze\n")
    guest.expect("softdog: Initiating system reboot", 60)
    guest.wait_for_reboot(30)


def _the_overlay_is_limited(guest: Guest, bundle: Bundle) -> None:
    """What is written to the root may take the share of memory that the image says, and no more."""
    share = int(bundle.manifest.overlay_size.removesuffix("%")) / 100
    # the prompt may come before it, so the numbers are looked for
    memory = _number(r"MemTotal: +(\d+) kB", guest.run("grep MemTotal /proc/meminfo")) << 10
    # it is mounted where nothing but the overlay reaches it: the overlay tells its upper's size
    said = guest.run("stat -f -c 'blocks=%b size=%S' /")
    limit = _number(r"blocks=(\d+)", said) * _number(r" size=(\d+)", said)
    assert 0.95 * share * memory < limit <= 1.05 * share * memory
    over = (limit >> 20) + 16
    told = guest.run(
        f"head -c {over}M /dev/zero > /root/much; stat -c %s /root/much; rm /root/much"
    )
    assert "No space left on device" in told
    assert 0 < _number(r"^(\d+)$", told) < limit


def _number(pattern: str, said: str) -> int:
    found = re.search(pattern, said, re.M)
    assert found, said
    return int(found[1])


def _another_root_on_the_command_line_is_not_up(
    guest: Guest, server: NodeServer, root: str
) -> None:
    """A node tells the root that it runs from, whatever root its command line names."""
    told = f"the root is {root} on /dev/loop0, and the command line says {'0' * 64}"
    change = f"sed 's/bootserve.root=[0-9a-f]*/bootserve.root={'0' * 64}/' /proc/cmdline"
    guest.run(f"{change} > /tmp/cmdline; mount --bind /tmp/cmdline /proc/cmdline")
    assert "status 1" in guest.run("/usr/lib/bootserve/report; echo status $?", 60)
    guest.expect(f"bootserve: {told}", 1)
    failed = server.wait_for("failed", 1)
    assert (failed.query["root"], failed.detail) == (root, f"{told}\n")
    guest.run("umount /proc/cmdline")


def test_a_kernel_panic_reboots_the_node(start_guest: StartGuest) -> None:
    # a kernel without a first program panics, as any other would
    guest = start_guest("panic=1", "rdinit=/none")
    guest.expect("Kernel panic - not syncing", 60)
    guest.wait_for_reboot(60)


def test_a_root_with_a_flipped_byte_is_refused_and_the_node_reboots(
    demo_bundle: Bundle, node_server: NodeServer, start_guest: StartGuest
) -> None:
    node_server.flip_byte = True
    guest = start_guest("bootserve.attempts=2")
    guest.expect("its pinned digest is", 60)
    guest.expect("attempt 2 of 2 failed", 60)
    guest.wait_for_reboot(30)
    assert "verified" not in node_server.phases()
    first, last = (one for one in node_server.reports if one.phase == "failed")
    for number, failed in enumerate((first, last), 1):
        assert failed.query["root"] != demo_bundle.manifest.artifacts["root"].sha256
        reason, *log = failed.detail.splitlines()
        assert "pinned digest" in reason
        assert 60 <= len(log) <= 100
        # the kernel may have had a word after it
        assert f"bootserve: attempt {number} of 2 failed: {reason}" in "\n".join(log[-5:])
    # the node's own clock: the pause that it says is the pause that it makes
    again = re.search(r"\[ *([0-9.]+)\] bootserve: trying again in (\d) s", last.detail)
    ended = re.search(r"\[ *([0-9.]+)\] bootserve: attempt 2 of 2 failed", last.detail)
    assert again
    assert ended
    assert float(ended[1]) - float(again[1]) >= int(again[2]) >= 2
    # nothing of the refused file is used again: it is fetched whole once more
    assert node_server.ranges == [0, 0]


def test_a_server_that_is_away_is_waited_for_and_a_broken_off_transfer_goes_on(
    node_server: NodeServer, start_guest: StartGuest
) -> None:
    node_server.break_off_at = [10_000_000, 30_000_000]
    node_server.stop()
    guest = start_guest()
    guest.expect("attempt 1 of 5 failed: the root could not be fetched", 60)
    node_server.start()
    node_server.wait_for("mounted", 90)
    assert node_server.ranges == [0, 10_000_000, 30_000_000]


def test_no_server_and_no_dhcp_reboot_the_node(
    node_server: NodeServer, start_guest: StartGuest
) -> None:
    node_server.stop()
    lonely = start_guest("bootserve.attempts=3")
    mute = start_guest("bootserve.attempts=1", network="hubport,hubid=0")
    lonely.expect("3 attempts came to nothing: the root could not be fetched", 90)
    mute.expect("no DHCP server answered on eth0", 90)
    for guest in (lonely, mute):
        guest.reboots_without_a_shell(30)
    first, second = map(int, re.findall(r"trying again in (\d+) s", lonely.console))
    assert 2 <= first <= 5
    assert 4 <= second <= 11


def test_a_server_that_stands_still_is_given_up(
    node_server: NodeServer, other_server: NodeServer, start_guest: StartGuest
) -> None:
    for server in (node_server, other_server):
        server.break_off_at = [5_000_000]
        server.stall = True
    guest = start_guest()
    hurried = start_guest("bootserve.up_timeout=20", server=other_server)
    guest.expect("nothing came for 15 seconds", 90)
    node_server.stall = False
    node_server.wait_for("mounted", 60)
    assert node_server.ranges == [0, 5_000_000]

    hurried.expect("bootserve: no root after 20 s: rebooting", 90)
    hurried.reboots_without_a_shell(30)
    assert "mounted" not in other_server.phases()


def test_a_server_that_does_not_answer_reports_does_not_delay_the_boot(
    node_server: NodeServer, start_guest: StartGuest
) -> None:
    node_server.deaf = True
    guest = start_guest()
    mounted = guest.expect(r"root mounted after [0-9.]+ s", 90)
    # one report alone would take 30 s if it were waited for
    assert float(mounted.split()[3]) < 30


def test_a_node_without_the_nic_it_booted_from_says_so_and_reboots(
    start_guest: StartGuest,
) -> None:
    guest = start_guest("BOOTIF=01-52-54-00-00-00-99", "bootserve.attempts=1")
    guest.expect("no network card has the address 52:54:00:00:00:99", 60)
    guest.reboots_without_a_shell(60)


def _without_hope(start_guest: StartGuest, server: NodeServer) -> list[Guest]:
    """Start the nodes that no further attempt can help, which say why at once."""
    hopeless = {
        "too little memory: .* the image needs 4096 MiB": start_guest(
            "bootserve.min_memory=4096", memory=512, server=server
        ),
        "too little memory: .* the root alone takes": start_guest(
            "bootserve.min_memory=0", memory=160, server=server
        ),
        "the kernel command line lacks bootserve.root": start_guest(
            leave_out="bootserve.root=", server=server
        ),
    }
    for said, guest in hopeless.items():
        guest.expect(said, 90)
    return list(hopeless.values())


@pytest.mark.timeout(600)
def test_a_hung_unit_emergency_and_rescue_mode_and_what_cannot_work_reboot_the_node(
    hanging_server: NodeServer,
    node_server: NodeServer,
    other_server: NodeServer,
    start_guest: StartGuest,
) -> None:
    # all wait for their time, so they wait together
    hanging = start_guest("bootserve.up_timeout=40", server=hanging_server)
    emergency = start_guest("systemd.unit=emergency.target")
    running = start_guest()
    hanging_server.wait_for("mounted", 90)
    hopeless = _without_hope(start_guest, other_server)

    running.expect("root@node-1", 200)
    running.type("systemctl rescue\n")
    hanging.expect("this node is not up in time", 90)
    hanging.wait_for_reboot(60)
    assert "up" not in hanging_server.phases()

    emergency.expect("this node fell into emergency mode; rebooting in 30 s", 90)
    emergency.wait_for_reboot(60)

    running.expect("this node fell into rescue mode; rebooting in 30 s", 90)
    running.wait_for_reboot(90)
    told = {one.detail.split("\n")[0] for one in node_server.reports if one.phase == "failed"}
    assert told == {f"this node fell into {mode} mode" for mode in ("emergency", "rescue")}
    for guest in (emergency, running):
        assert "Press Enter for maintenance" not in guest.console

    for guest in hopeless:
        guest.reboots_without_a_shell(150)
    reports = [(one.phase, one.detail[:17]) for one in other_server.reports]
    assert reports == [("failed", "too little memory")] * 2
    assert other_server.ranges == []


@pytest.mark.matrix
def test_a_node_boots_from_an_erofs_root(
    tmp_path_factory: pytest.TempPathFactory, start_guest: StartGuest
) -> None:
    server = NodeServer(built_once(tmp_path_factory, "demo-erofs", in_erofs))
    server.start()
    try:
        guest = start_guest(server=server)
        server.wait_for("up", 200)
        guest.expect("root@node-1", 60)
        assert " /run/bootserve/root erofs ro," in guest.run("grep loop0 /proc/mounts")
        assert "bootserve.root_format=erofs" in guest.run("cat /proc/cmdline")
        assert server.bundle.manifest.artifacts["root"].sha256 in guest.run("sha256sum /dev/loop0")
    finally:
        server.stop()
