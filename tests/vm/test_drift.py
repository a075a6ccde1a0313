"""A node comes up as itself; what is altered on it shows at once; a reboot undoes it.

One boot and one reboot show all of it: under emulation a boot to the end is what takes long.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.pytest_plugin import VmFactory
from vm_harness.vm import Vm

from bootserve.build.bundle import Bundle
from tests.support.bundles import DEMO, built_once, small_base
from tests.vm.coming_up import Expected, machine_ids
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]

UP_SECONDS = 400.0
HEARTBEAT_SECONDS = 300.0
SSHD = "/etc/ssh/sshd_config"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libm.so.6"
ALTER = f"""\
sed -i 's/^#PermitRootLogin.*/PermitRootLogin yes/' {SSHD}
cp -a {LIBRARY} /tmp/new; echo x >> /tmp/new; mv /tmp/new {LIBRARY}
rm /usr/bin/top
chmod u+s /usr/bin/free
echo '* * * * * root true' > /etc/cron
rm -r /usr/share/bash-completion; mkdir /usr/share/bash-completion
cp -a /usr/bin /tmp/bin; mount --bind /tmp/bin /usr/bin
sysctl -q -w kernel.sysrq=1
modprobe dummy
echo secret > /etc/shadow
echo declared > /var/log/declared
"""
CHANGED = (
    ('name = "debian-base"', 'name = "demo"'),
    ("min_memory_mib = 2048", "min_memory_mib = 512"),
)
ALL_KEYS = "ssh-keygen -A"
# made at the start of this node like the image's own, and without the 13 s that an RSA key takes
ONE_KEY = "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
TIMERS = """\
for timer in $(systemctl list-timers --all --no-legend | grep -o '[^ ]*[.]timer'); do
    systemctl start ${timer%.timer}.service && echo $timer
done"""
ALTERED = {
    ("changed", SSHD),
    ("changed", LIBRARY),
    ("deleted", "/usr/bin/top"),
    ("mode", "/usr/bin/free"),
    ("written", "/etc/cron"),
    ("deleted", "/usr/share/bash-completion"),
    ("mount", "/usr/bin"),
    ("sysctl", "/proc/sys/kernel/sysrq"),
    ("module", "/sys/module/dummy"),
    ("changed", "/etc/shadow"),
}


class Node:
    """A node of a site, as its drift shows."""

    def __init__(self, site: Site, machine: Vm) -> None:
        self.site = site
        self.machine = machine

    def drift(self) -> Any:
        return self.site.admin.call("GET", f"/nodes/{self.machine.name}/drift")

    def wait(self, seen: Callable[[Any], bool]) -> Any:
        """Wait until the node's drift is such that ``seen`` is true of it, and return it."""
        deadline = time.monotonic() + HEARTBEAT_SECONDS
        while not seen(found := self.drift()):
            assert time.monotonic() < deadline, found
            assert self.machine.running
            time.sleep(0.2)
        return found

    def next_heartbeat(self, count: int = 1) -> Any:
        """Wait for so many more heartbeats: the second one looked after this call."""
        for _ in range(count):
            last = self.drift()["running"]
            found = self.wait(lambda now, last=last: now["running"] != last)  # type: ignore[misc]
        return found


def has_beaten(now: Any) -> bool:
    """Whether a heartbeat of this boot came, beside its report: it alone tells the clock."""
    return now["running"]["clock_offset"] is not None


@pytest.fixture(scope="session")
def base_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """debian-base, small, with a shell on the serial line and one key of its own."""
    return built_once(tmp_path_factory, "base-console", _with_console)


def _with_console(definition: Path) -> None:
    small_base(definition)
    settings = definition / "image.toml"
    text = settings.read_text()
    for shipped, wanted in CHANGED:
        assert shipped in text
        text = text.replace(shipped, wanted)
    settings.write_text(text)
    keys = definition / "files/etc/systemd/system/ssh-host-keys.service"
    text = keys.read_text()
    assert ALL_KEYS in text
    keys.write_text(text.replace(ALL_KEYS, ONE_KEY))
    shutil.copytree(DEMO / "files", definition / "files", dirs_exist_ok=True)


def test_a_node_is_itself_and_what_is_altered_shows_and_is_gone_after_a_reboot(
    lab: Lab, vm: VmFactory, base_bundle: Bundle
) -> None:
    policy = [
        "--heartbeat-seconds",
        "2",
        "--heartbeats-missed",
        "100",
        "--drift-diff-paths",
        "/etc/*",
    ]
    site = Site(lab, lab.bootserve(arguments=policy).start())
    site.bring_in(base_bundle)
    site.add("n1", kernel_args="bootserve.test=1")
    site.add("n2")
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    machine_id = machine_ids(site, "n1", "n2")["n1"]
    itself = Expected(site, base_bundle, machine_id, "bootserve.test=1")
    node = Node(site, vm("n1", memory=1024).start())
    site.wait(node.machine, "up", UP_SECONDS)
    itself.check(node.machine)
    _is_clean_and_closed(node)
    _is_clean_after_an_hour(node)
    _shows_what_is_altered(node)
    _shows_a_text_that_the_policy_allows(site)
    _notices_another_snapshot(node)
    _reboots_when_asked(site, node)
    itself.check(node.machine)
    # that it is clean is no word of the node's alone
    left = node.machine.run("ls /etc/cron /usr/bin/top 2>/dev/null", check=False).split()
    assert left == ["/usr/bin/top"]
    site.server.stop()


def _is_clean_and_closed(node: Node) -> None:
    found = node.wait(lambda now: now["running"] and has_beaten(now))
    assert (found["states"], found["entries"]) == ([], [])
    assert found["running"]["generation"] == "demo@1"
    assert abs(found["running"]["clock_offset"]) < 60
    run = node.machine.run
    closed = run("setpriv --reuid 65534 --clear-groups ls /run/bootserve/overlay", check=False)
    assert "Permission denied" in closed
    assert run("stat -c '%a %u' /run/bootserve/overlay /run/bootserve") == "700 0\n700 0"
    assert "metacopy=off" not in run("grep ' / / ' /proc/self/mountinfo")
    for parameter in ("metacopy", "redirect_dir"):
        assert parameter + "=on" not in run("grep ' / ' /proc/self/mountinfo")


def _is_clean_after_an_hour(node: Node) -> None:
    """With the clock advanced, and whatever the image's timers start started."""
    run = node.machine.run
    timers = run(f"date -s '+65 minutes' > /dev/null; {TIMERS}", timeout=HEARTBEAT_SECONDS).split()
    assert {"logrotate.timer", "man-db.timer", "systemd-tmpfiles-clean.timer"} <= set(timers)
    assert "0 loaded units" in run("systemctl --failed")
    found = node.next_heartbeat(2)
    assert (found["states"], found["entries"]) == ([], [])
    assert found["running"]["clock_offset"] > 3600


def _shows_what_is_altered(node: Node) -> None:
    node.machine.run(ALTER)
    found = node.next_heartbeat(2)
    assert {(one["kind"], one["path"]) for one in found["entries"]} == ALTERED
    assert found["altered"] == len(ALTERED)
    assert found["states"] == ["altered"]
    entries = {one["path"]: one for one in found["entries"]}
    library, free = entries[LIBRARY], entries["/usr/bin/free"]
    assert (library["type"], library["owner"]) == ("file", "root:root")
    assert len(library["sha256"]) == 64
    assert (free["mode"], free["sha256"] != "") == ("4755", True)
    assert entries["/etc/cron"]["size"] == 20
    assert abs(entries["/etc/cron"]["mtime"] - time.time()) < 2 * 3600
    assert entries["/proc/sys/kernel/sysrq"]["detail"].endswith(" -> 1")
    assert found["history"][0]["state"] == "altered"


def _shows_a_text_that_the_policy_allows(site: Site) -> None:
    shown = site.server.cli("drift", "n1", "--diff", SSHD, timeout=180)
    assert "\n-#PermitRootLogin prohibit-password\n+PermitRootLogin yes\n" in shown
    for path, why in (("/etc/shadow", "may hold a secret"), ("/usr/bin/free", "the policy does")):
        with pytest.raises(Exception, match=why):
            site.server.cli("drift", "n1", "--diff", path)


def _notices_another_snapshot(node: Node) -> None:
    node.machine.run("echo > /run/bootserve/drift/base/taint")
    found = node.wait(lambda now: "another snapshot" in " ".join(now["reasons"]))
    assert found["states"] == ["altered"]


def _reboots_when_asked(site: Site, node: Node) -> None:
    before = node.drift()["running"]["boot"]
    site.server.cli("reboot", "n1", "--by", "agent", timeout=UP_SECONDS)
    found = node.wait(lambda now: now["running"]["boot"] != before and has_beaten(now))
    assert (found["states"], found["entries"]) == ([], [])
    assert {one["boot"] for one in found["history"] if one["state"] == "altered"} == {before}
