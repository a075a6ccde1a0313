"""The server without root: who it is once its ports are bound, and that it serves all the same."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bootserve.errors import Conflict, Refused
from bootserve.servers.rights import read_rights
from bootserve.service.privileges import Identity, find_identity, own_user, prepare_state_dir
from bootserve.store.lock import StateLock
from bootserve.wire.dhcp import build, parse
from tests.service.test_bad_starts import fails
from tests.support.api import Admin
from tests.support.curl import curl
from tests.support.dhcp import DISCOVER, MAC, wire
from tests.support.public import in_public

PATH = f"/boot/{MAC.replace(':', '-')}.ipxe"
NBP = Path("/usr/lib/ipxe/undionly.kpxe").read_bytes()
NOBODY = pwd.getpwnam("nobody")
NONE = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), 0)
UNPRIVILEGED = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
Maker = Callable[..., BootServer]


@pytest.fixture(scope="module")
def client(lab: Lab) -> Namespace:
    client = lab.client("node", "10.44.0.50")
    client.ip("link", "set", "eth1", "address", MAC)
    return client


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can look into, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="bootserve-privileges-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make(lab: Lab, folder: Path) -> Iterator[Maker]:
    """Makes servers whose state and log lie in ``folder``."""
    before = len(lab.servers)

    def make(*arguments: str, command: tuple[str, ...] = ()) -> BootServer:
        server = lab.bootserve(state_dir=folder / "state", command=command, arguments=arguments)
        server.log = folder / "log"
        server.command = [*in_public(), *server.command]
        return server

    yield make
    for server in lab.servers[before:]:
        server.stop()


def processes(server: BootServer) -> list[int]:
    """Return the ids of its processes: the server, and those that serve TFTP and send files."""
    main = server.process.pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    assert len(children) == 2  # what serves TFTP, and what sends files
    return [main, *map(int, children)]


def assert_unprivileged(server: BootServer, uid: int, bounding: int = 0) -> None:
    """Every thread of every process has no capability, no way to one, and is of ``uid``."""
    for pid in processes(server):
        for thread in os.listdir(f"/proc/{pid}/task"):
            rights = read_rights(f"{pid}/task/{thread}")
            assert rights == {**NONE, "CapBnd": bounding, "NoNewPrivs": 1}
            status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
            ids = next(line.split()[1:] for line in status.splitlines() if line[:4] == "Uid:")
            assert ids == [str(uid)] * 4


def bring_in(server: BootServer) -> Admin:
    admin = Admin(server.state_dir)
    admin.bring_in(MAC)
    return admin


async def assert_boots(client: Namespace, folder: Path) -> None:
    """A node gets an offer, its NBP, its script, and the bytes that the script names."""
    with wire(client.name, "eth1") as here:
        here.send(build(DISCOVER))
        while (frame := await here.receive(20))[IP].src != "10.44.0.2":
            pass  # the segment's DHCP server answers too
    assert parse(bytes(frame[UDP].payload)).options[54] == bytes((10, 44, 0, 2))
    got = folder / "got"
    url = "tftp://10.44.0.2/undionly.kpxe"
    client.run(["curl", "-sS", "--max-time", "20", "-o", str(got), url])
    assert got.read_bytes() == NBP
    script = curl(client, PATH).text
    kernel = next(word for word in script.split() if "/artifacts/sha256/" in word)
    assert curl(client, "", base=kernel).text == "kernel 1"


def owners(path: Path) -> set[int]:
    return {one.lstat().st_uid for one in (path, *path.rglob("*"))}


def wait_log(server: BootServer, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in server.log_text():
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.05)


async def test_root_keeps_its_name_alone_until_it_is_told_whom_to_become(
    client: Namespace, make: Maker, folder: Path
) -> None:
    (folder / "state").mkdir()
    server = make().start()
    assert_unprivileged(server, 0)
    assert "the server stays root in name" in server.log_text()
    admin = bring_in(server)
    await assert_boots(client, folder)
    first = admin.call("GET", "/boots?node=n1")["boots"][0]["id"]
    server.terminate()
    assert owners(server.state_dir) == {0}
    server.arguments = ["--user", "nobody"]
    server.start()
    assert_unprivileged(server, NOBODY.pw_uid)
    await assert_boots(client, folder)
    assert owners(server.state_dir) == {NOBODY.pw_uid}
    server.terminate()
    server.arguments = []  # from now on, the directory's owner says whom to become
    server.start()
    assert_unprivileged(server, NOBODY.pw_uid)
    assert first in {boot["id"] for boot in admin.call("GET", "/boots?node=n1")["boots"]}
    assert "n1" in server.cli("node", "list")


async def test_a_new_state_directory_is_not_roots(
    client: Namespace, make: Maker, folder: Path
) -> None:
    server = make("--state-dir", str(folder / "new")).start()
    server.state_dir = folder / "new"
    uid = own_user().uid
    assert owners(server.state_dir) == {uid}
    assert_unprivileged(server, uid)
    assert "stays root" not in server.log_text()
    bring_in(server)
    await assert_boots(client, folder)
    server.terminate()
    server.start()
    assert_unprivileged(server, uid)
    assert "n1" in server.cli("node", "list")


FIND = """
import sys
from pathlib import Path
from bootserve.service.privileges import find_identity
print(*(find_identity("", Path(path)).uid for path in sys.argv[1:]))
"""


def test_where_others_may_not_enter_new_state_is_roots(folder: Path) -> None:
    (folder / "private").mkdir(mode=0o700)
    paths = [folder / "private" / "state", folder / "made" / "state", folder / "state"]
    argv = [*in_public(), sys.executable, "-c", FIND, *map(str, paths)]
    found = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert found == ["0", *[str(own_user().uid)] * 2]


def test_a_user_of_its_own_has_a_number_that_nobody_has() -> None:
    own = own_user()
    assert own.uid not in (0, NOBODY.pw_uid)
    assert {one.pw_name for one in pwd.getpwall() if one.pw_uid == own.uid} <= {"bootserve"}


async def test_a_user_with_the_two_rights_to_bind_gives_them_up(
    client: Namespace, make: Maker, folder: Path
) -> None:
    """As under systemd with AmbientCapabilities; the bounding set is then systemd's to empty."""
    caps = "+net_bind_service,+net_raw"
    state = folder / "state"
    state.mkdir(mode=0o750)
    os.chown(state, NOBODY.pw_uid, NOBODY.pw_gid)
    wrapper = (
        "setpriv",
        f"--inh-caps={caps}",
        f"--ambient-caps={caps}",
        "--bounding-set=-all," + caps,
    )
    server = make()
    place = len(in_public())
    server.command[place:place] = [*wrapper, *UNPRIVILEGED[1:]]
    server.start()
    assert_unprivileged(server, NOBODY.pw_uid, bounding=1 << 10 | 1 << 13)
    bring_in(server)
    await assert_boots(client, folder)


def test_sighup_reloads_and_what_is_wrong_is_not_taken(make: Maker, folder: Path) -> None:
    templates = folder / "templates"
    templates.mkdir()
    server = make("--user", "nobody", "--templates-dir", str(templates)).start()
    admin = Admin(server.state_dir)
    admin.call("POST", "/nodes", name="n1", macs=[MAC])
    hold = templates / "hold.ipxe.j2"
    hold.write_text("#!ipxe\necho ours {{ node }} {{ reason }}\nsleep {{ pause }}\n")
    server.process.send_signal(signal.SIGHUP)
    wait_log(server, '"reloaded"')
    script = admin.call("GET", "/nodes/n1/explain")["script"]
    assert "echo ours n1" in script
    hold.write_text("#!ipxe\n{% if %}\n")
    server.process.send_signal(signal.SIGHUP)
    wait_log(server, "hold.ipxe.j2, line 2")
    assert admin.call("GET", "/nodes/n1/explain")["script"] == script
    deadline = time.monotonic() + 30
    while len(found := admin.call("GET", "/audit?kind=reload")["records"]) < 2:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert [one["subject"] for one in found] == ["SIGHUP", "SIGHUP"]
    assert ["hold.ipxe.j2, line 2" in one["message"] for one in found] == [True, False]


@pytest.fixture
def nobody() -> Identity:
    return find_identity("nobody", Path("/nonexistent"))


def test_a_new_state_directory_is_the_users(folder: Path, nobody: Identity) -> None:
    prepare_state_dir(folder / "state", nobody)
    assert owners(folder / "state") == {NOBODY.pw_uid}
    assert (folder / "state").stat().st_mode & 0o777 == 0o750
    assert find_identity("", folder / "state") == nobody


def test_links_in_a_state_directory_are_handed_over_and_not_what_they_point_to(
    folder: Path, nobody: Identity
) -> None:
    state = folder / "state"
    (state / "journal").mkdir(parents=True)
    for path in (folder / "else", state / "lock", state / "journal" / "1"):
        path.write_text("")
    (state / "journal" / "link").symlink_to(folder / "else")
    prepare_state_dir(state, nobody)
    assert owners(state) == {NOBODY.pw_uid}
    assert (folder / "else").stat().st_uid == 0


def test_a_state_directory_in_use_is_not_handed_over(folder: Path, nobody: Identity) -> None:
    state = folder / "state"
    state.mkdir()
    with (
        StateLock(state / "lock"),
        pytest.raises(Conflict, match=rf"another bootserve \(pid {os.getpid()}\)"),
    ):
        prepare_state_dir(state, nobody)
    assert owners(state) == {0}


def test_a_directory_that_is_no_state_directory_is_not_handed_over(
    folder: Path, nobody: Identity
) -> None:
    (folder / "mail").write_text("")
    with pytest.raises(Refused, match="belongs to root and is no state directory") as refused:
        prepare_state_dir(folder, nobody)
    assert refused.value.hint == f"If it is bootserve's: chown -R 65534:65534 {folder}"
    assert owners(folder) == {0}


def test_a_state_directory_of_someone_else_is_refused(folder: Path, nobody: Identity) -> None:
    os.chown(folder, 1, 1)
    with pytest.raises(Refused, match="belongs to uid 1, not to nobody"):
        prepare_state_dir(folder, nobody)
    with pytest.raises(Refused, match="belongs to uid 1, not to root"):
        prepare_state_dir(folder, find_identity("root", folder))


def test_a_file_of_another_in_the_state_directory_is_named(make: Maker, folder: Path) -> None:
    """Through the whole server, which must say it without a traceback."""
    server = make("--user", "nobody")
    server.state_dir.mkdir()
    (server.state_dir / "admin.token").write_text("x")
    os.chown(server.state_dir, NOBODY.pw_uid, NOBODY.pw_gid)
    said = fails(server)
    assert f"{server.state_dir}/admin.token belongs to uid 0, not to nobody" in said


BECOME = """
import sys
from pathlib import Path
from bootserve.errors import BootserveError
from bootserve.service.privileges import find_identity
try:
    find_identity(sys.argv[1], Path("/")).become()
except BootserveError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("wrapper", "user", "words"),
    [
        ([], "no-such-user", "there is no user no-such-user"),
        (UNPRIVILEGED, "daemon", "only root can become user daemon"),
        (["setpriv", "--bounding-set=-setuid"], "nobody", "may not become user nobody"),
        (UNPRIVILEGED, "nobody", ""),
        ([], "nobody", ""),
    ],
)
def test_who_may_become_whom(wrapper: list[str], user: str, words: str) -> None:
    done = subprocess.run(
        [*in_public(), *wrapper, sys.executable, "-c", BECOME, user],
        capture_output=True,
        text=True,
        check=True,
    )
    assert words in done.stdout if words else done.stdout == ""


PRIVATE = """
import os, sys
from pathlib import Path
from bootserve.errors import BootserveError
from bootserve.servers.rights import read_rights
from bootserve.service.privileges import find_identity
try:
    find_identity(sys.argv[1], Path("/")).become()
except BootserveError as error:
    sys.exit(print(error))
from bootserve.core import offers
rights = read_rights()
print(rights["CapPrm"], rights["CapEff"], rights["CapBnd"])
"""


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("root", "4 4 4"),
        ("nobody", "user nobody may not read {}, where bootserve is installed"),
        ("daemon", ""),
    ],
)
def test_a_program_in_anothers_private_folder(folder: Path, user: str, words: str) -> None:
    """As a checkout in a home directory is: root can read it still, and do no more."""
    home = folder / "home"
    shutil.copytree(Path(__file__).parents[2] / "bootserve", home / "bootserve")
    daemon = pwd.getpwnam("daemon")
    for path in (home, *home.rglob("*")):
        os.chown(path, daemon.pw_uid, daemon.pw_gid)
    home.chmod(0o700)
    done = subprocess.run(
        [*in_public(), sys.executable, "-P", "-c", PRIVATE, user],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(home)},
    )
    assert done.stdout.strip() == (words.format(home) or "0 0 0")
