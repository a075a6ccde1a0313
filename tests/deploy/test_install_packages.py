"""The guard that keeps services from starting while packages are installed.

The script runs with a /usr/sbin of its own (a mount name space) and an apt-get that tells what it
saw.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

UNITS = "/etc/systemd/system"
ROOT = Path(__file__).resolve().parents[2]
# what apt's maintainer scripts would be told, then what the test wants
APT = """\
#!/bin/sh
[ "$2" = update ] && exit 0
answer=0
/usr/sbin/policy-rc.d atd start || answer=$?
if [ -n "${ENABLES:-}" ]; then
    ln -s ../init.d/relay /etc/rc2.d/S01relay
    ln -s ../init.d/other /etc/rc2.d/S02other
    ln -s /lib/systemd/system/relay.service /etc/systemd/system/relay.service
fi
echo "$DEBIAN_FRONTEND $answer $*" > "$SEEN"
while [ -e "$SEEN.wait" ]; do sleep 0.02; done
exit "${APT_STATUS:-0}"
"""

DPKG = """\
#!/bin/sh
[ "$*" = "-L no-such-package" ] || exit 1
printf '%s\\n' /etc/init.d /etc/init.d/relay /lib/systemd/system/relay.service
"""
UPDATE_RC = """\
#!/bin/sh
echo "$*" >> "$SEEN.disabled"
mv /etc/rc2.d/S01relay /etc/rc2.d/K01relay
"""

# keeps no variable of the caller's, as sudo does, but where the test looks
SUDO = """\
#!/bin/sh
echo "$*" >> "$SEEN.sudo"
exec env -i PATH="$PATH" SEEN="$SEEN" "$@"
"""
AS_USER = {"id": "#!/bin/sh\necho 1000\n"}


@dataclass
class Machine:
    """A /usr/sbin, and what apt-get saw."""

    folder: Path

    def __post_init__(self) -> None:
        self.sbin = self.folder / "sbin"
        self.seen = self.folder / "seen"
        self.wait = self.folder / "seen.wait"
        (self.folder / "list").write_text("no-such-package  # and why\nbash\n")
        self.sbin.mkdir()
        (self.folder / "bin").mkdir()
        self.links = {self.folder / "rc2.d": "/etc/rc2.d", self.folder / "units": UNITS}
        for folder in self.links:
            folder.mkdir()
            (folder / "S01own").symlink_to("../init.d/own")
        self.have({"apt-get": APT, "dpkg": DPKG, "update-rc.d": UPDATE_RC})

    def have(self, programs: dict[str, str]) -> None:
        for name, text in programs.items():
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)

    def start(self, **env: str) -> subprocess.Popen[str]:
        over = {self.sbin: "/usr/sbin", **self.links}
        enter = "".join(f"mount --bind '{own}' {place} && " for own, place in over.items())
        script = ROOT / "deploy/install-packages"
        words = ["sh", "-c", f'{enter} exec "$1" "$2"', "sh", script, self.folder / "list"]
        path = f"{self.folder}/bin:/usr/bin:/bin"
        enter += f"export PATH={env.pop('PATH', path)} &&"
        # what is ignored here (SIGHUP under nohup) would be there, and no shell can trap it then
        heard = ["/usr/bin/env", "--default-signal"]
        return subprocess.Popen(
            [*heard, "/usr/bin/unshare", "--mount", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": path, "SEEN": str(self.seen), **env},
        )

    def run(self, **env: str) -> tuple[int, str]:
        process = self.start(**env)
        said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def left(self) -> list[str]:
        return sorted(path.name for path in self.sbin.iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


ASKED = "noninteractive 101 -q install -y --no-install-recommends no-such-package\n"


def test_while_apt_runs_no_service_may_start(machine: Machine) -> None:
    assert machine.run() == (0, "installing: no-such-package\n")
    assert machine.seen.read_text() == ASKED
    assert machine.left() == []


def test_what_is_installed_does_not_start_with_the_machine(machine: Machine) -> None:
    assert machine.run(ENABLES="1")[0] == 0
    assert (machine.folder / "seen.disabled").read_text() == "relay disable\n"
    left = [sorted(path.name for path in folder.iterdir()) for folder in machine.links]
    assert left == [["K01relay", "S01own", "S02other"], ["S01own"]]  # others start as before


def test_nothing_missing_means_nothing_done(machine: Machine) -> None:
    (machine.folder / "list").write_text("# nothing\nbash\n")
    assert machine.run() == (0, "")
    assert not machine.seen.exists()


def test_the_guard_goes_when_apt_fails(machine: Machine) -> None:
    code, _ = machine.run(APT_STATUS="100")
    assert code == 100
    assert machine.seen.read_text() == ASKED
    assert machine.left() == []


def until(seen: Callable[[], bool]) -> None:
    """Wait until ``seen`` is true."""
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_taken(pid: int, number: signal.Signals) -> bool:
    """Tell whether the process has got the signal and done at once what it does about it.

    Then it has ended, or it sleeps again with apt alone to wait for: a guard that goes too early
    has gone.
    """
    said = Path(f"/proc/{pid}/status").read_text()
    found = dict(line.split(":\t", 1) for line in said.splitlines())
    pending = int(found["SigPnd"], 16) | int(found["ShdPnd"], 16)
    if found["State"][0] == "Z":
        return True
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = [Path(f"/proc/{child}/comm").read_text() for child in children]
    return not pending >> number - 1 & 1 and found["State"][0] == "S" and names == ["apt-get\n"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_guard_stays_until_apt_has_ended_and_goes_then(
    machine: Machine, number: signal.Signals
) -> None:
    machine.wait.touch()
    process = machine.start()
    try:
        until(machine.seen.exists)
        os.kill(process.pid, number)
        until(lambda: has_taken(process.pid, number))
        assert process.poll() is None
        assert machine.left() == ["policy-rc.d"]
    finally:
        machine.wait.unlink()
        process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert machine.left() == []


@pytest.mark.parametrize("status", ["0", "100"])
def test_a_policy_of_the_machines_own_is_put_back_untouched(machine: Machine, status: str) -> None:
    own = machine.sbin / "policy-rc.d"
    own.write_text("#!/bin/sh\nexit 0 # everything may start\n")
    own.chmod(0o751)
    before = own.stat()
    assert machine.run(APT_STATUS=status)[0] == int(status)
    assert machine.seen.read_text() == ASKED
    assert machine.left() == ["policy-rc.d"]
    after = own.stat()
    assert own.read_text() == "#!/bin/sh\nexit 0 # everything may start\n"
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_a_policy_that_is_a_link_stays_one(machine: Machine) -> None:
    (machine.sbin / "policy-rc.d").symlink_to("/etc/alternatives/nowhere")
    assert machine.run()[0] == 0
    assert machine.seen.read_text() == ASKED
    assert os.readlink(machine.sbin / "policy-rc.d") == "/etc/alternatives/nowhere"
    assert machine.left() == ["policy-rc.d"]


def test_what_a_run_that_was_killed_left_is_mended_by_the_next(machine: Machine) -> None:
    (machine.sbin / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (machine.sbin / "policy-rc.d.before-bootserve").write_text("the machine's own")
    assert machine.run()[0] == 0
    assert machine.seen.read_text() == ASKED
    assert machine.left() == ["policy-rc.d"]
    assert (machine.sbin / "policy-rc.d").read_text() == "the machine's own"


def test_a_user_does_by_sudo_what_needs_root(machine: Machine) -> None:
    machine.have({**AS_USER, "sudo": SUDO})
    own, policy = machine.sbin / "policy-rc.d", "/usr/sbin/policy-rc.d"
    own.write_text("the machine's own")
    relay = machine.folder / "units/relay.service"
    relay.symlink_to("/lib/systemd/system/relay.service")
    (machine.folder / "rc2.d/S01relay").symlink_to("../init.d/relay")
    assert machine.run() == (0, "installing: no-such-package\n")
    assert machine.seen.read_text() == ASKED
    assert (machine.left(), own.read_text()) == (["policy-rc.d"], "the machine's own")
    assert not relay.is_symlink()
    assert (machine.folder / "seen.sudo").read_text().splitlines() == [
        f"mv -f {policy} {policy}.before-bootserve",
        f"tee {policy}",
        f"chmod 755 {policy}",
        "apt-get -q update",
        f"env DEBIAN_FRONTEND=noninteractive apt-get {ASKED.split(' ', 2)[2].strip()}",
        "update-rc.d relay disable",
        f"rm {UNITS}/relay.service",
        f"rm -f {policy}",
        f"mv -f {policy}.before-bootserve {policy}",
    ]


def test_a_user_without_sudo_is_told_and_nothing_is_done(machine: Machine) -> None:
    machine.have(AS_USER)
    for name in ("sed", "grep", "dpkg-query"):
        (machine.folder / "bin" / name).symlink_to(f"/usr/bin/{name}")
    code, said = machine.run(PATH=f"{machine.folder}/bin")
    assert (code, said.splitlines()[1]) == (
        1,
        "these packages are missing and this user is not root: install them, or install sudo",
    )
    assert not machine.seen.exists()
    assert machine.left() == []
