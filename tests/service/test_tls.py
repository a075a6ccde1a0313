"""The admin listener with TLS: refused without it off loopback, its certificate read again."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import ssl
from pathlib import Path

import pytest
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from bootserve.errors import InvalidInput
from bootserve.service.tls import Tls
from tests.cli.runner import run_program
from tests.support.api import Admin
from tests.support.certificates import make_certificate
from tests.support.curl import curl

URL = "https://10.44.0.2:8081"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "10.44.0.2")


@pytest.fixture(scope="module")
def server(lab: Lab, files: tuple[Path, Path]) -> BootServer:
    cert, key = map(str, files)
    words = ["--admin-address", "10.44.0.2", "--admin-tls-cert", cert, "--admin-tls-key", key]
    return lab.bootserve(arguments=words).start()


@pytest.fixture(scope="module")
def token(server: BootServer) -> str:
    made = Admin(server.state_dir).call(
        "POST", "/tokens", name="ops", role="viewer", scopes=["site"]
    )
    return str(made["secret"])


def test_the_command_line_speaks_tls(
    lab: Lab, server: BootServer, files: tuple[Path, Path], token: str
) -> None:
    env = {"BOOTSERVE_TOKEN": token, "BOOTSERVE_SERVER": URL}
    within = lab.client("admin", "10.44.0.60").command([])
    words = ("whoami", "--json")
    trusted = run_program(*words, "--ca-file", files[0], within=within, **env)
    assert (trusted.code, trusted.err) == (0, "")
    assert json.loads(trusted.out)["subject"] == "token:ops"
    stranger = run_program(*words, within=within, **env)
    assert (stranger.code, "is not trusted" in stranger.err) == (3, True)
    assert "--ca-file" in stranger.err


def test_an_artifact_comes_whole(server: BootServer, files: tuple[Path, Path], token: str) -> None:
    root = random.Random(1).randbytes(9_000_000)
    Admin(server.state_dir).publish("web", "1", root)
    options = ("--cacert", str(files[0]), "-H", f"Authorization: Bearer {token}")
    path = f"/api/v1/artifacts/{hashlib.sha256(root).hexdigest()}"
    assert curl(server.namespace, path, *options, base=URL).body == root


def test_only_tls_12_and_later_and_only_its_names(
    server: BootServer, files: tuple[Path, Path], token: str
) -> None:
    def ask(*words: str) -> int:
        options = ("--cacert", str(files[0]), "-H", f"Authorization: Bearer {token}", *words)
        return curl(server.namespace, "/api/v1/whoami", *options, base=URL).status

    assert ask("--tls-max", "1.2") == 200
    assert ask("--tlsv1.3") == 200
    with pytest.raises(HarnessError):
        ask("--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
    assert ask("-H", "Host: evil.example:8081") == 403
    with pytest.raises(HarnessError):
        curl(server.namespace, "/healthz", base="http://10.44.0.2:8081")


def test_a_new_certificate_is_served_after_a_reload(
    server: BootServer, files: tuple[Path, Path], tmp_path: Path
) -> None:
    admin = Admin(server.state_dir)
    new = make_certificate(tmp_path, "10.44.0.2")
    old = tmp_path / "old.pem"
    shutil.copy(files[0], old)

    def trusted(authority: Path) -> bool:
        options = ("--cacert", str(authority))
        try:
            return curl(server.namespace, "/healthz", *options, base=URL).status == 200
        except HarnessError:
            return False

    files[0].write_text("no certificate")
    status, answer = admin.raw("POST", "/api/v1/reload")
    assert (status, "no certificate and its key" in json.loads(answer)["detail"]) == (400, True)
    assert trusted(old)
    for target, source in zip(files, new, strict=True):
        shutil.copy(source, target)
    server.process.send_signal(signal.SIGHUP)
    assert admin.raw("POST", "/api/v1/reload")[0] == 200
    assert (trusted(new[0]), trusted(old)) == (True, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--admin-address", "10.44.0.2"], "is not loopback, and there is no TLS"),
        (["--admin-address", "0.0.0.0"], "is not loopback, and there is no TLS"),
        (["--admin-tls-cert", "/nowhere"], "go together"),
        (["--admin-tls-cert", "/nowhere", "--admin-tls-key", "/nowhere"], "cannot read /nowhere"),
    ],
)
def test_what_is_not_safe_is_refused_at_the_start(lab: Lab, words: list[str], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        lab.bootserve(arguments=words).start()


def test_a_token_is_not_sent_in_clear() -> None:
    refused = run_program("--server", "http://boot.example:8081", "status")
    assert (refused.code, "in clear over the network" in refused.err) == (1, True)


def test_names_are_those_of_the_certificate(tmp_path: Path) -> None:
    tls = Tls(*make_certificate(tmp_path, "127.0.0.2"))
    assert (tls.has("127.0.0.2"), tls.has("127.0.0.1"), tls.has("")) == (True, False, False)
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2
    other = tmp_path / "other"
    other.mkdir()
    cert, _ = make_certificate(other)
    with pytest.raises(InvalidInput, match="no certificate and its key"):
        Tls(cert, tmp_path / "key.pem")
