"""Redfish against sushy-tools' emulator, over TLS and with a password."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootserve.errors import InvalidInput, NotFound, Refused, Unavailable
from bootserve.model.desired import Node
from bootserve.servers.reboots.redfish import Redfish, RedfishSettings
from tests.support.bmc import USER, Bmc, credentials
from tests.support.states import node


@pytest.fixture(scope="module")
def bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    names = ("n1", "off", "one", "two", "three")
    off = {"off": {"power_state": "Off"}}
    systems = [{"name": name, **off.get(name, {})} for name in names]
    made = Bmc(tmp_path_factory.mktemp("bmc"), *systems)
    yield made
    made.stop()


def machine(server: Bmc, name: str = "n1", **labels: str) -> Node:
    given = {"bmc": server.url, "bmc-system": name, **labels}
    return node(name, labels=tuple(sorted(given.items())))


def redfish(bmc: Bmc, folder: Path, **fields: Any) -> Redfish:
    if "credentials" not in fields:
        fields["credentials"] = credentials(folder)
    return Redfish(RedfishSettings(**{"ca_file": bmc.cert, **fields}), pause=0.01)


async def test_a_node_is_restarted_gently_and_then_by_force(bmc: Bmc, tmp_path: Path) -> None:
    client = redfish(bmc, tmp_path)
    assert await client.restart(machine(bmc), force=False) == "its BMC asked it to restart"
    assert await client.restart(machine(bmc), force=True) == "its BMC resets it"
    assert bmc.resets() == ["GracefulRestart", "ForceRestart"]
    assert bmc.power() == "On"
    client.close()


@pytest.mark.parametrize("verify", [True, False])
async def test_a_node_that_is_off_is_switched_on(bmc: Bmc, tmp_path: Path, verify: bool) -> None:
    before = len(bmc.resets("off"))
    client = redfish(bmc, tmp_path, verify=verify, ca_file=bmc.cert if verify else None)
    done = await client.restart(machine(bmc, "off"), force=False)
    assert done == (
        "its BMC asked it to restart" if before else "it was off, and its BMC switches it on"
    )
    assert bmc.resets("off")[0] == "On"
    assert bmc.power("off") == "On"
    client.close()


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (["On", "ForceOff", "ForceRestart"], ["ForceRestart"]),
        (["On", "PowerCycle"], ["PowerCycle"]),
        (["On", "ForceOff"], ["ForceOff", "On"]),
    ],
)
async def test_a_bmc_that_knows_less_does_what_it_can(
    tmp_path: Path, kinds: list[str], told: list[str], request: pytest.FixtureRequest
) -> None:
    bmc = Bmc(tmp_path / "bmc", {"name": "n1"}, kinds=kinds)
    request.addfinalizer(bmc.stop)
    client = redfish(bmc, tmp_path)
    await client.restart(machine(bmc), force=False)
    assert bmc.resets() == told
    assert bmc.power() == "On"
    client.close()


async def test_a_wrong_password_is_refused_and_not_told(bmc: Bmc, tmp_path: Path) -> None:
    wrong = credentials(tmp_path, "[node.n1]\nusername = 'bootserve'\npassword = 'hunter2'\n")
    client = redfish(bmc, tmp_path, credentials=wrong)
    with pytest.raises(Refused, match=f"refuses user {USER}") as caught:
        await client.restart(machine(bmc), force=False)
    assert "hunter2" not in str(caught.value) + caught.value.hint
    client.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(bmc: Bmc, tmp_path: Path) -> None:
    client = redfish(bmc, tmp_path, ca_file=None)
    with pytest.raises(Refused, match="certificate") as caught:
        await client.restart(machine(bmc), force=False)
    assert "redfish_ca_file" in caught.value.hint
    client.close()


async def test_a_bmc_that_is_away_is_asked_again_and_told(bmc: Bmc, tmp_path: Path) -> None:
    client = redfish(bmc, tmp_path)
    away = machine(bmc, bmc="https://127.0.0.1:1")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await client.restart(away, force=False)
    client.close()


async def test_which_of_several_systems_must_be_said(bmc: Bmc, tmp_path: Path) -> None:
    client = redfish(bmc, tmp_path)
    for name in ("", "elsewhere"):
        with pytest.raises(InvalidInput, match="has 5 systems") as caught:
            await client.restart(machine(bmc, "one", **{"bmc-system": name}), force=False)
        assert "two" in caught.value.hint
    by_path = {"bmc-system": "/redfish/v1/Systems/one"}
    await client.restart(machine(bmc, "one", **by_path), force=True)
    assert bmc.resets("one") == ["ForceRestart"]
    client.close()


async def test_what_is_not_set_up_is_said(bmc: Bmc, tmp_path: Path) -> None:
    client = redfish(bmc, tmp_path, credentials=None)
    with pytest.raises(NotFound, match="node n1 has no BMC") as caught:
        await client.restart(node(), force=False)
    assert "--label bmc=" in caught.value.hint
    with pytest.raises(InvalidInput, match="no credentials"):
        await client.restart(machine(bmc), force=False)
    with pytest.raises(InvalidInput, match="is no address"):
        await client.restart(machine(bmc, bmc="https://x/y?z"), force=False)
    client.close()


async def test_no_password_is_sent_in_clear_unless_nothing_is_verified(tmp_path: Path) -> None:
    plain = node(labels=(("bmc", "http://127.0.0.1:1"),))
    client = Redfish(RedfishSettings(credentials=credentials(tmp_path)), pause=0.01)
    with pytest.raises(InvalidInput, match="would send the password in clear"):
        await client.restart(plain, force=False)
    client.close()
    client = Redfish(RedfishSettings(credentials=credentials(tmp_path), verify=False), pause=0.01)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await client.restart(plain, force=False)
    client.close()


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("", 0o640, "others may read"),
        ("password = hunter2", 0o600, "is not TOML"),
        ("[node.n2]\nusername = 'a'\npassword = 'b'", 0o600, "no credentials for the BMC of n1"),
        ("[default]\nusername = 'a'", 0o600, "lacks username or password"),
        ("default = 1", 0o600, "no credentials for the BMC of n1"),
    ],
)
async def test_a_file_of_credentials_that_is_wrong(
    bmc: Bmc, tmp_path: Path, text: str, mode: int, said: str
) -> None:
    client = redfish(bmc, tmp_path, credentials=credentials(tmp_path, text, mode))
    with pytest.raises(InvalidInput, match=said) as caught:
        await client.restart(machine(bmc), force=False)
    assert "hunter2" not in str(caught.value) + caught.value.hint
    client.close()


async def test_without_sushy_it_says_how_to_install_it(
    bmc: Bmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sushy", None)
    client = redfish(bmc, tmp_path)
    with pytest.raises(InvalidInput, match="need the package sushy") as caught:
        await client.restart(machine(bmc), force=False)
    assert "bootserve[redfish]" in caught.value.hint
    client.close()
