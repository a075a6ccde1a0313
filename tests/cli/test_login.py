"""Users of a real identity provider (glewlwyd): they log in, act within their bindings, log out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.cli.runner import PROGRAM, Result, run_program
from tests.support.api import Admin
from tests.support.curl import curl
from tests.support.glewlwyd import Browser, Glewlwyd

URL = "http://127.0.0.1:8081"


class Users:
    """Runs commands as users who each have a home of their own, beside server and provider."""

    def __init__(self, server: BootServer, folder: Path) -> None:
        self._within = server.namespace.command([])
        self._folder = folder

    def env(self, user: str) -> dict[str, str]:
        home = str(self._folder / user)
        return {"XDG_CONFIG_HOME": home, "BOOTSERVE_STATE_DIR": home, "BOOTSERVE_SERVER": URL}

    def run(self, user: str, *words: str) -> Result:
        return run_program(*words, within=self._within, **self.env(user))

    def log_in(self, user: str, browser: Browser, *words: str) -> str:
        """Log in, the browser following the link that is printed; return what was said."""
        process = subprocess.Popen(
            [*self._within, *PROGRAM, "login", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.env(user)},
        )
        assert process.stderr is not None
        said = ""
        while not (link := re.search(r"[Oo]pen (http\S+(\?|code=)\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        self._follow(browser, link[1].rstrip("."))
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, said + err
        return said + out

    def _follow(self, browser: Browser, link: str) -> None:
        path = link.partition("127.0.0.1:4593")[2].replace("//", "/")
        back = browser.ask("GET", f"{path}&g_continue").headers["location"]
        if "127.0.0.1:8912" in back:
            where = back.partition("127.0.0.1:8912")[2]
            answer = curl(browser.namespace, where, base="http://127.0.0.1:8912")
            assert "go back to the terminal" in answer.text


@pytest.fixture(scope="module")
def oidc_server(lab: Lab) -> BootServer:
    rules = "email=anna@example.org operator rack/r1,email=vera@example.org viewer site"
    settings = {
        "ISSUER": "http://127.0.0.1:4593/api/oidc",
        "CLIENT_ID": "bootserve",
        "NAME_CLAIM": "email",
        "BINDINGS": rules,
    }
    env = {f"BOOTSERVE_OIDC_{name}": value for name, value in settings.items()}
    server = lab.bootserve(env=env)
    return server.start()


@pytest.fixture(scope="module")
def admin(oidc_server: BootServer) -> Admin:
    admin = Admin(oidc_server.state_dir)
    for name, rack, last in (("n1", "r1", 1), ("n2", "r2", 2)):
        admin.call("POST", "/nodes", name=name, macs=[f"52:54:00:00:00:{last:02x}"], rack=rack)
    return admin


@pytest.fixture(scope="module")
def provider(
    oidc_server: BootServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Glewlwyd]:
    folder = tmp_path_factory.mktemp("glewlwyd")
    found = Glewlwyd(oidc_server.namespace, folder, ("anna", "vera"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def users(oidc_server: BootServer, tmp_path_factory: pytest.TempPathFactory) -> Users:
    return Users(oidc_server, tmp_path_factory.mktemp("homes"))


def whoami(users: Users, user: str) -> Any:
    result = users.run(user, "whoami", "--json")
    assert result.code == 0, result
    return json.loads(result.out)


def test_a_user_logs_in_by_a_code_and_acts_within_its_rack(
    admin: Admin, provider: Glewlwyd, users: Users
) -> None:
    said = users.log_in("anna", provider.browser("anna"))
    assert "enter the code" in said
    assert "Logged in at" in said
    assert whoami(users, "anna") == {
        "subject": "user:anna@example.org",
        "bindings": [{"role": "operator", "scope": "rack/r1"}],
    }
    assert users.run("anna", "node", "set", "n1", "--label", "a=b").code == 0
    refused = users.run("anna", "node", "set", "n2", "--label", "a=b")
    assert (refused.code, "needs the role operator" in refused.err) == (1, True)
    author = admin.call("GET", "/revisions?limit=1")["revisions"][0]["author"]
    assert author == "user:anna@example.org"


def test_what_was_granted_to_a_user_adds_to_the_rules(admin: Admin, users: Users) -> None:
    admin.call("PUT", "/access", subject="user:anna@example.org", role="viewer", scope="rack/r2")
    shown = json.loads(users.run("anna", "node", "list", "--json").out)
    assert [one["name"] for one in shown["nodes"]] == ["n1", "n2"]


def test_by_browser_with_pkce_until_the_login_is_over(provider: Glewlwyd, users: Users) -> None:
    users.log_in("vera", provider.browser("vera"), "--browser", "--port", "8912")
    assert whoami(users, "vera")["bindings"] == [{"role": "viewer", "scope": "site"}]
    [file] = Path(users.env("vera")["XDG_CONFIG_HOME"]).rglob("logins.json")
    assert file.stat().st_mode & 0o777 == 0o600
    logins = json.loads(file.read_text())
    logins[URL]["expires_at"] = time.time() - 1
    file.write_text(json.dumps(logins))
    over = users.run("vera", "whoami")
    assert (over.code, "has expired" in over.err, "bootserve login" in over.err) == (1, True, True)
    assert users.run("vera", "logout").code == 0
    after = users.run("vera", "whoami")
    assert (after.code, "cannot read the admin token" in after.err) == (1, True)


def test_the_providers_new_key_is_found_and_the_old_one_is_worthless(
    oidc_server: BootServer, provider: Glewlwyd, users: Users
) -> None:
    provider.rotate_keys()
    oidc_server.restart()
    old = users.run("anna", "whoami")
    assert (old.code, "a key that the provider does not publish" in old.err) == (1, True)
    users.log_in("anna", provider.browser("anna"), "--browser", "--port", "8912")
    assert whoami(users, "anna")["subject"] == "user:anna@example.org"
