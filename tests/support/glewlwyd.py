"""A real identity provider: Debian's glewlwyd, with a SQLite database and keys of its own."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from vm_harness.net import Namespace

from tests.support.curl import Answer, curl
from tests.support.debs import unpacked

__all__ = ["Browser", "Glewlwyd"]

PORT = 4593
BASE = f"http://127.0.0.1:{PORT}"
SCHEMA = "usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
JSON = ("-H", "Content-Type: application/json")
CONFIG = """
port={port}
bind_address="127.0.0.1"
external_url="{base}"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="INFO"
cookie_secure=0
session_expiration=3600
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{root}/usr/lib/glewlwyd/user"
client_module_path="{root}/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="{root}/usr/lib/glewlwyd/scheme"
plugin_module_path="{root}/usr/lib/glewlwyd/plugin"
static_files_path="{folder}"
hash_algorithm="SHA512"
database = {{ type="sqlite3"; path="{folder}/glewlwyd.db"; }};
"""


def new_keys() -> dict[str, str]:
    """Return the parameters of a new signing key."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {"key": private.decode(), "cert": public.decode()}


class Browser:
    """Somebody's browser at the provider: curl with a cookie jar of its own."""

    def __init__(self, namespace: Namespace, jar: Path) -> None:
        self.namespace = namespace
        self._jar = str(jar)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        data = () if body is None else (*JSON, "-d", json.dumps(body))
        options = ("-X", method, "-b", self._jar, "-c", self._jar, *data)
        answer = curl(self.namespace, path, *options, base=BASE)
        assert answer.status < 400, (method, path, answer.status, answer.text)
        return answer

    def log_in(self, name: str, password: str) -> None:
        self.ask("POST", "/api/auth/", {"username": name, "password": password})


VERIFIED = {
    "name": "email_verified",
    "user-property": "verified",
    "type": "boolean",
    "boolean-value-true": "yes",
    "boolean-value-false": "no",
    "mandatory": True,
    "scope": [],
}
"""It sends an email, and of itself not whether that is verified."""


class Glewlwyd:
    """The provider, running in ``namespace``; ``users`` have the password ``secret-NAME``."""

    def __init__(self, namespace: Namespace, folder: Path, users: tuple[str, ...]) -> None:
        self._root = unpacked("glewlwyd", ["glewlwyd"]).root
        self._namespace = namespace
        self._folder = folder
        self.issuer = f"{BASE}/api/oidc"
        self._process = self._start()
        self._admin = Browser(namespace, folder / "admin.jar")
        self._await()
        self._admin.log_in("admin", "password")
        self._configure(users)

    def _start(self) -> subprocess.Popen[bytes]:
        with sqlite3.connect(self._folder / "glewlwyd.db") as database:
            database.executescript((self._root / SCHEMA).read_text())
        config = self._folder / "glewlwyd.conf"
        config.write_text(CONFIG.format(port=PORT, base=BASE, root=self._root, folder=self._folder))
        libraries = sorted({str(one.parent) for one in self._root.glob("usr/lib/**/*.so.*")})
        with (self._folder / "glewlwyd.log").open("ab") as log:
            return self._namespace.spawn(
                [str(self._root / "usr/bin/glewlwyd"), f"--config-file={config}"],
                log=log,
                env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)},
            )

    def _await(self) -> None:
        deadline = time.monotonic() + 60
        while "Glewlwyd started" not in (self._folder / "glewlwyd.log").read_text():
            assert self._process.poll() is None, (self._folder / "glewlwyd.log").read_text()
            assert time.monotonic() < deadline, "glewlwyd does not start"
            time.sleep(0.05)

    def _configure(self, users: tuple[str, ...]) -> None:
        backend = json.loads(self._admin.ask("GET", "/api/mod/user/database").text)
        backend["parameters"]["data-format"] = {"verified": {"multiple": False, "read": True}}
        self._admin.ask("PUT", "/api/mod/user/database", backend)
        self._admin.ask("PUT", "/api/mod/user/database/reset")
        plugin = {"module": "oidc", "name": "oidc", "display_name": "OIDC"}
        parameters = {**self._parameters(), **new_keys()}
        self._admin.ask("POST", "/api/mod/plugin/", {**plugin, "parameters": parameters})
        client = {
            "client_id": "bootserve",
            "name": "bootserve",
            "enabled": True,
            "confidential": False,
            "redirect_uri": ["http://127.0.0.1:8912/callback"],
            "authorization_type": ["code", "device_authorization", "refresh_token"],
            "scope": ["openid"],
        }
        self._admin.ask("POST", "/api/client/", client)
        for name in users:
            user = {
                "username": name,
                "name": name.title(),
                "email": f"{name}@example.org",
                "verified": "yes",
                "password": f"secret-{name}",
                "enabled": True,
                "scope": ["g_profile", "openid"],
            }
            self._admin.ask("POST", "/api/user/", user)

    def _parameters(self) -> dict[str, Any]:
        return {
            "iss": self.issuer,
            "jwt-type": "rsa",
            "jwt-key-size": "256",
            "access-token-duration": 3600,
            "refresh-token-duration": 86400,
            "code-duration": 600,
            "refresh-token-rolling": True,
            "auth-type-code-enabled": True,
            "auth-type-id-token-enabled": True,
            "auth-type-device-enabled": True,
            "auth-type-refresh-enabled": True,
            "device-authorization-expiration": 600,
            "device-authorization-interval": 1,
            "pkce-allowed": True,
            "pkce-required": True,
            "scope": [],
            "claims": [VERIFIED],
            "email-claim": "mandatory",
            "subject-type": "public",
            "jwks-show": True,
            "introspection-revocation-allowed": True,
            "introspection-revocation-allow-target-client": True,
            "address-claim": {"type": "no"},
        }

    def rotate_keys(self) -> None:
        """Have it sign by another key from now on."""
        plugin = json.loads(self._admin.ask("GET", "/api/mod/plugin/oidc").text)
        plugin["parameters"].update(new_keys())
        self._admin.ask("PUT", "/api/mod/plugin/oidc", plugin)
        self._admin.ask("PUT", "/api/mod/plugin/oidc/disable")
        self._admin.ask("PUT", "/api/mod/plugin/oidc/enable")

    def browser(self, user: str) -> Browser:
        """Return a browser where ``user`` is logged in and lets bootserve know who it is."""
        browser = Browser(self._namespace, self._folder / f"{user}.jar")
        browser.log_in(user, f"secret-{user}")
        browser.ask("PUT", "/api/auth/grant/bootserve", {"scope": "openid"})
        return browser

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
