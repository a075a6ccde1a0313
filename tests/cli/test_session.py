"""Which token a command sends where."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootserve.cli.session import Connection
from bootserve.errors import InvalidInput

REMOTE = "https://boot.example:8081"


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BOOTSERVE_TOKEN", "BOOTSERVE_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "admin.token").write_text("of-this-server\n")
    return tmp_path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]"])
def test_this_machines_token_is_sent_to_this_machine(state_dir: Path, host: str) -> None:
    found = Connection(state_dir, f"https://{host}:8081").endpoint()
    assert found.token == "of-this-server"


@pytest.mark.parametrize("url", [REMOTE, "https://10.0.0.5:8081", "https://localhost.evil.example"])
def test_this_machines_token_is_sent_to_no_other(state_dir: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="there is no token for") as caught:
        Connection(state_dir, url).endpoint()
    for way in (f"bootserve login --server {url}", "BOOTSERVE_TOKEN", "--token-file"):
        assert way in caught.value.hint


def test_a_token_that_was_given_is_sent_anywhere(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = state_dir / "given"
    file.write_text("from-a-file")
    assert Connection(state_dir, REMOTE, file).endpoint().token == "from-a-file"
    monkeypatch.setenv("BOOTSERVE_TOKEN", "from-outside")
    assert Connection(state_dir, REMOTE).endpoint().token == "from-outside"
