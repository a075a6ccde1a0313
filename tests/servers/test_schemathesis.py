"""schemathesis against the real server: no operation fails, and each answers as the document says.

Bounded: a fixed seed and a few cases for each operation. What costs the server much (a scrub of
the whole store) or ends what others need (the tokens) is asked for nothing that is there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from vm_harness.server import BootServer

from tests.support.api import Admin

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)
SECONDS = 240
"""A limit that a busy machine stays within; alone it takes a tenth of it."""


@pytest.fixture(scope="module")
def document(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's own document, and a site with something in it."""
    generation = admin.publish("web", "one")
    admin.call("PUT", "/roles/web", image="web")
    for name, rack, last in (("n1", "r1", 1), ("n2", "r2", 2)):
        mac = f"52:54:00:00:00:{last:02x}"
        admin.call("POST", "/nodes", name=name, macs=[mac], rack=rack, role="web")
    admin.call("PUT", "/pins", scope="site", generation=generation)
    file = tmp_path_factory.mktemp("openapi") / "openapi.json"
    file.write_text(json.dumps(admin.call("GET", "/openapi.json")))
    return file


def test_every_operation_answers_as_the_document_says(
    server: BootServer, admin: Admin, document: Path
) -> None:
    token = (server.state_dir / "admin.token").read_text().strip()
    words = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(document)),
        *("--url", "http://127.0.0.1:8081", "-H", f"Authorization: Bearer {token}"),
        *("--checks", CHECKS, "--phases", "fuzzing", "--max-examples", "4"),
        *("--seed", "4", "--generation-database", "none", "--no-shrink", "--no-color"),
        *("--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "60"),
    ]
    done = subprocess.run(
        server.namespace.command(words),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=document.parent,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    tested = re.search(r"(\d+) generated", done.stdout)
    assert tested is not None, done.stdout[-2000:]
    operations = json.loads(document.read_text())["paths"].values()
    assert int(tested[1]) >= 2 * sum(map(len, operations)), "it has tried each of them"
    assert admin.call("GET", "/status")["ready"]


def test_the_document_is_whole(document: Path) -> None:
    whole = json.loads(document.read_text())
    schemas, responses = whole["components"]["schemas"], whole["components"]["responses"]
    text = json.dumps(whole)
    assert set(re.findall(r"#/components/schemas/([\w-]+)", text)) <= schemas.keys()
    assert set(re.findall(r"#/components/responses/(\w+)", text)) <= responses.keys()
    assert "$defs" not in text
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            assert {"400", "401", "403", "404", "429"} <= operation["responses"].keys(), path
            assert operation["description"].startswith("Needs "), path
            names = {one["name"] for one in operation.get("parameters", [])}
            bytes_ = "application/octet-stream" in operation.get("requestBody", {}).get(
                "content", {}
            )
            wanted = {"If-Match"} if bytes_ else {"Idempotency-Key", "If-Match"}
            headers = names & {"Idempotency-Key", "If-Match"}
            assert headers == (set() if method == "get" else wanted), path
    assert whole["paths"]["/api/v1/login"]["get"]["security"] == []
    assert "security" not in whole["paths"]["/api/v1/whoami"]["get"]
