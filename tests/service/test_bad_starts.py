"""What stands in the way of a start: said in words, with what to do, and exit code 1."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.service.conftest import MAC, Servers
from tests.support.api import Admin, Problem
from tests.support.curl import curl


def fails(server: BootServer, *, timeout: float = 60) -> str:
    """Start ``server``, which must end with 1 by itself, and return what it said."""
    argv = [*server.command, "serve", "--interface", server.interface]
    argv += ["--state-dir", str(server.state_dir), *server.arguments]
    done = subprocess.run(
        server.namespace.command(argv), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_two_servers_on_one_state_directory(servers: Servers) -> None:
    first = servers.start()
    said = fails(servers.make())
    assert f"another bootserve (pid {first.process.pid}) is running on" in said
    assert "--state-dir" in said
    assert first.running


@pytest.mark.parametrize(
    ("port", "kind", "hint"),
    [
        (67, "udp", "dnsmasq"),
        (4011, "udp", "ss -"),
        (69, "udp", "tftpd-hpa"),
        (8080, "tcp", "ss -tlnp sport = :8080"),
        (8081, "tcp", "ss -tlnp sport = :8081"),
    ],
)
def test_a_taken_port_is_named_with_who_may_have_it(
    lab: Lab, servers: Servers, tmp_path: Path, port: int, kind: str, hint: str
) -> None:
    take = (
        "import socket,sys,time;"
        f"s=socket.socket(socket.AF_INET,socket.SOCK_{'DGRAM' if kind == 'udp' else 'STREAM'});"
        f"s.bind(('0.0.0.0',{port}));{'s.listen();' if kind == 'tcp' else ''}"
        "print('taken',flush=True);time.sleep(60)"
    )
    argv = lab.network.server.command([os.fspath(Path("/usr/bin/python3.11")), "-c", take])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        said = fails(servers.make())
        holder.kill()
    assert str(port) in said
    assert hint in said
    servers.start()  # and nothing was left behind that would keep it from starting now


def test_a_state_directory_that_cannot_be_made_or_written(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = fails(servers.make(state_dir=tmp_path / "file" / "state"))
    assert re.search(r"the state directory .* cannot be made: Not a directory", said)
    read_only = tmp_path / "read-only"
    read_only.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", read_only], check=True)
    try:
        said = fails(servers.make(state_dir=read_only))
    finally:
        subprocess.run(["umount", read_only], check=True)
    assert "Read-only file system" in said or "read-only" in said.lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interface", "nope0"], "there is no interface nope0"),
        (["--interface", "lo", "--nbp-dir", "/nonexistent"], "there is no NBP in /nonexistent"),
        (["--templates-dir", "/nonexistent"], "templates_dir /nonexistent is not a directory"),
        (["--http-port", "0"], "greater than or equal to 1"),
        (["--unknown", "perhaps"], "hold"),
    ],
)
def test_bad_settings(servers: Servers, arguments: list[str], words: str) -> None:
    server = servers.make(*arguments)
    argv = [*server.command, "serve", "--interface", server.interface]
    argv += ["--state-dir", str(server.state_dir), *arguments]
    done = subprocess.run(
        server.namespace.command(argv), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (1, 2)
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_a_template_that_does_not_render_is_refused_at_start_and_at_reload(
    servers: Servers, tmp_path: Path
) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    hold = templates / "hold.ipxe.j2"
    hold.write_text("#!ipxe\necho {{ nope }}\n")
    said = fails(servers.make("--templates-dir", str(templates)))
    assert "hold.ipxe.j2, line 2: 'nope' is undefined" in said
    hold.write_text("#!ipxe\necho ours {{ node }} {{ reason }}\nsleep {{ pause }}\n")
    server = servers.start("--templates-dir", str(templates))
    admin = Admin(server.state_dir)
    admin.call("POST", "/nodes", name="n1", macs=[MAC])
    script = admin.call("GET", "/nodes/n1/explain")["script"]
    assert script.splitlines()[1].startswith("echo ours n1 ")
    hold.write_text("#!ipxe\n{% if %}\n")
    with pytest.raises(Problem, match=r"hold\.ipxe\.j2, line 2"):
        admin.call("POST", "/reload")
    assert admin.call("GET", "/nodes/n1/explain")["script"] == script
    hold.unlink()
    admin.call("POST", "/reload")
    assert "is held: it has neither" in admin.call("GET", "/nodes/n1/explain")["script"]


def test_a_quirks_file_is_refused_with_its_line_at_start_and_at_reload(
    servers: Servers, tmp_path: Path
) -> None:
    quirks = tmp_path / "quirks.toml"
    arguments = ("--quirks-file", str(quirks))
    assert "cannot read" in fails(servers.make(*arguments))
    good = '[[quirk]]\nname = "q"\nsource = "seen here"\noui = "52:54:00"\nshape = "binl"\n'
    quirks.write_text(good.replace("binl", "oval"))
    assert "quirks.toml, line 5: shape: 'oval' is none of" in fails(servers.make(*arguments))
    quirks.write_text(good + 'nbp = "none.efi"\n')
    assert "quirk q names none.efi, which is not in" in fails(servers.make(*arguments))
    quirks.write_text(good)
    admin = Admin(servers.start(*arguments).state_dir)
    quirks.write_text(good.replace("name", "title"))
    with pytest.raises(Problem, match=r"quirks\.toml, line 2: there is no key 'title'"):
        admin.call("POST", "/reload")
    quirks.write_text("")
    admin.call("POST", "/reload")


def test_a_damaged_database_leaves_the_last_revision_being_served(
    lab: Lab, servers: Servers
) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    client = lab.client("away", "10.44.0.60")
    client.ip("link", "set", "eth1", "address", "02:00:00:44:00:60")
    admin.bring_in("02:00:00:44:00:60")
    server.terminate()
    database = server.state_dir / "bootserve.db"
    kept = database.read_bytes()
    database.write_bytes(b"this is no database" * 1000)
    server.start()
    script = curl(client, "/boot/02-00-00-44-00-60.ipxe").text
    assert "bootserve.generation=web@1" in script
    status = admin.call("GET", "/status")
    assert (status["ready"], status["revision"]["number"]) == (False, 3)
    assert any("the database is away" in one for one in status["problems"])
    with pytest.raises(Problem) as refused:
        admin.call("PUT", "/racks/r1", kernel_args="quiet")
    assert refused.value.status == 503
    database.write_bytes(kept)
    admin.wait_ready()
    boots = admin.call("GET", "/boots?node=n1")["boots"]
    assert [boot["generation"] for boot in boots] == ["web@1"]
    assert admin.call("PUT", "/racks/r1", kernel_args="quiet")["revision"]["number"] == 4


def test_a_database_older_than_what_was_served_is_refused(servers: Servers) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    admin.call("PUT", "/racks/r1", kernel_args="quiet")
    server.terminate()
    for path in server.state_dir.glob("bootserve.db*"):
        path.unlink()
    said = fails(servers.make())
    assert "the database is at revision 0, and this server has served revision 1" in said
    (server.state_dir / "snapshot.json").unlink()
    server.start()
    assert admin.call("GET", "/status")["revision"]["number"] == 0


def test_the_token_file_and_the_socket_are_for_the_owner(servers: Servers) -> None:
    server = servers.start()
    assert (server.state_dir / "admin.token").stat().st_mode & 0o777 == 0o600
    assert (server.state_dir / "admin.sock").stat().st_mode & 0o007 == 0
