"""``serve`` and ``config show``: every setting is a flag, and its source is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bootserve.cli.serve import TABLES
from bootserve.settings import Settings
from tests.cli.runner import run
from tests.cli.test_main import LEAVES


@pytest.mark.parametrize("path", [("serve",), ("config", "show")], ids=" ".join)
def test_every_setting_is_a_flag(path: tuple[str, ...]) -> None:
    flags = {option for param in LEAVES[path].params for option in param.opts}
    for name in Settings.model_fields.keys() - TABLES:
        assert f"--{name.replace('_', '-')}" in flags


def settings(*words: str | Path) -> dict[str, tuple[Any, str]]:
    result = run(*words, "config", "show", "--json")
    assert result.code == 0, result
    return {one["name"]: (one["value"], one["source"]) for one in result.json["settings"]}


def test_values_and_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "bootserve.toml"
    config.write_text('interface = "eth7"\nhttp_port = 81\ntftp_port = 6969\nunknown = "hold"\n')
    monkeypatch.setenv("BOOTSERVE_HTTP_PORT", "82")
    monkeypatch.setenv("BOOTSERVE_TFTP_PORT", "7000")
    result = run(
        *("config", "show", "--json", "--config", config, "--tftp-port", "7070"),
        *("--address", "10.0.0.9", "--scrub-hours", "1.5", "--log-format", "json"),
        *("--state-dir", tmp_path / "state"),
    )
    shown = {one["name"]: (one["value"], one["source"]) for one in result.json["settings"]}
    assert set(shown) == set(Settings.model_fields)
    assert shown["interface"] == (["eth7"], f"file {config}")
    assert shown["unknown"] == ("hold", f"file {config}")
    assert shown["http_port"] == (82, "BOOTSERVE_HTTP_PORT")
    assert shown["tftp_port"] == (7070, "flag")
    assert shown["address"] == (["10.0.0.9"], "flag")
    assert shown["scrub_hours"] == (1.5, "flag")
    assert shown["state_dir"] == (str(tmp_path / "state"), "flag")
    assert shown["admin_port"] == (8081, "default")
    assert all(one["description"] for one in result.json["settings"])


HOOK = {"name": "drain", "when": "before", "run": ["/bin/true"]}
OTHER_VALUES: dict[str, Any] = {
    "interface": "eth7",
    "state_dir": "/srv/state",
    "address": "10.0.0.9",
    "http_port": 81,
    "tftp_port": 6969,
    "admin_port": 0,
    "admin_address": "10.0.0.8",
    "admin_tls_cert": "/srv/cert.pem",
    "admin_tls_key": "/srv/key.pem",
    "oidc_issuer": "https://login.example",
    "oidc_client_id": "boot",
    "oidc_audience": "rack",
    "oidc_scope": "openid groups",
    "oidc_name_claim": "email",
    "oidc_bindings": "groups=netops operator rack/r12",
    "user": "nobody",
    "unknown": "hold",
    "uefi_shape": "binl",
    "quirks_file": "/srv/quirks.toml",
    "nbp_dir": "/srv/nbps",
    "nbp_bios": "ipxe.pxe",
    "nbp_x64": "snponly.efi",
    "nbp_arm64": "snponly-arm64.efi",
    "templates_dir": "/srv/templates",
    "discovered_max": 5,
    "boots_per_node": 6,
    "nbps_per_node": 7,
    "loop_minutes": 8.5,
    "journal_max_mib": 9,
    "scrub_hours": 0.5,
    "audit_checkpoint_minutes": 1.5,
    "keep_boots_days": 11.0,
    "keep_reports_days": 12.0,
    "keep_changes_days": 13.0,
    "heartbeat_seconds": 14.0,
    "heartbeats_missed": 15,
    "heartbeats_per_second": 16.0,
    "rollout_seconds": 17.0,
    "known_good_tries": 18,
    "known_good_per_rack": 19,
    "known_good_everywhere": True,
    "drift_diff_paths": "/etc/hosts",
    "reboot_minutes": 21.0,
    "agent_minutes": 22.0,
    "redfish_credentials": "/srv/bmcs.toml",
    "redfish_verify": False,
    "redfish_ca_file": "/srv/ca.pem",
    "redfish_graceful_minutes": 23.0,
    "hooks": [HOOK],
    "log_format": "text",
}
"""For each setting a value that is not its default."""


def _as_text(value: Any) -> str:
    """Write a value as it is given in the environment."""
    return value if isinstance(value, str) else json.dumps(value)


def _as_toml(value: Any) -> str:
    """Write a value of ``OTHER_VALUES`` as TOML, where JSON will not do."""
    if value == [HOOK]:
        return "[" + "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in HOOK.items()) + "}]"
    return json.dumps(value)


def test_every_setting_has_another_value_to_try() -> None:
    assert set(OTHER_VALUES) == set(Settings.model_fields)
    for name, (value, source) in settings().items():
        assert source == "default"
        assert value not in (OTHER_VALUES[name], [OTHER_VALUES[name]]), name


@pytest.fixture(scope="module")
def all_set(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """Give every setting by a file, then by the environment: what each way shows, and its name."""
    config = tmp_path_factory.mktemp("settings") / "bootserve.toml"
    lines = [f"{name} = {_as_toml(value)}\n" for name, value in OTHER_VALUES.items()]
    config.write_text("".join(lines))
    by_file = settings("--config", config)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OTHER_VALUES.items():
            patch.setenv(f"BOOTSERVE_{name.upper()}", _as_text(value))
        return [(f"file {config}", by_file), ("", settings())]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_by_file_and_environment(
    name: str, all_set: list[tuple[str, dict[str, Any]]]
) -> None:
    wanted = OTHER_VALUES[name]
    several = isinstance(Settings.model_fields[name].default, tuple) and name != "hooks"
    for place, shown in all_set:
        value, source = shown[name]
        if name == "hooks":
            value = [{key: one[key] for key in HOOK} for one in value]
        assert value == ([wanted] if several else wanted)
        assert source == (place or f"BOOTSERVE_{name.upper()}")


@pytest.mark.parametrize("name", ["state_dir", "templates_dir"])
def test_an_empty_path_is_not_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = settings()[name]
    config = tmp_path / "bootserve.toml"
    config.write_text(f'{name} = ""\n')
    assert settings("--config", config)[name] == default
    config.write_text(f'{name} = "/srv/from-the-file"\n')
    monkeypatch.setenv(f"BOOTSERVE_{name.upper()}", "")
    assert settings("--config", config)[name] == ("/srv/from-the-file", f"file {config}")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        *(("config show", text) for text in ("{", "1", '[{"name": "x"}]', "", "\udcff")),
        *((command, "{") for command in ("serve", "status", "node list")),
    ],
)
def test_a_variable_that_is_wrong_is_named(
    command: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTSERVE_HOOKS", text)
    result = run(*command.split())
    assert (result.code, result.out) == (1, "")
    assert "(BOOTSERVE_HOOKS): " in result.err


def test_the_global_options_reach_it_too(tmp_path: Path) -> None:
    config = tmp_path / "bootserve.toml"
    config.write_text('interface = "eth7"\n')
    shown = settings("--config", config, "--state-dir", tmp_path)
    assert shown["interface"] == (["eth7"], f"file {config}")
    assert shown["state_dir"] == (str(tmp_path), "flag")


def test_the_table_is_for_people() -> None:
    lines = run("config", "show", "--interface", "eth9").out.splitlines()
    assert lines[0].split()[:3] == ["SETTING", "VALUE", "FROM"]
    assert len(lines) == 1 + len(Settings.model_fields)
    assert lines[1].split()[:3] == ["interface", "eth9", "flag"]
    assert lines[3].split()[:3] == ["address", "-", "default"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "there is no setting colour"),
        ("http_port = 0", "http_port"),
        ("= 1", "is not TOML"),
        ("[[hooks]]\nname = 'x'\nrun = ['/bin/true']", "hooks[1].when (file"),
        ("[[hooks]]\nname = 'x'\nwhen = 'now'", "hooks[1].when (file"),
        ("[[hooks]]\nname = 'x'\nwhen = 'after'\ncolour = 1", "hooks[1].colour (file"),
        ("[[hooks]]\nname = 'x'\nwhen = 'after'", "hook x: give either run, a command, or url"),
        (
            "[[hooks]]\nname = 'x'\nwhen = 'after'\nrun = ['/bin/true']\n" * 2,
            "two hooks are called x",
        ),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "bootserve.toml"
    config.write_text(text)
    for command in (("config", "show"), ("serve",)):
        result = run(*command, "--config", config)
        assert (result.code, result.out) == (1, "")
        assert said in result.err
        assert str(config) in result.err


def test_a_flag_that_is_wrong_is_named() -> None:
    result = run("serve", "--address", "300.1.2.3")
    assert result.code == 1
    assert "address (flag)" in result.err


def test_serve_needs_an_interface(tmp_path: Path) -> None:
    result = run("serve", "--state-dir", tmp_path)
    assert result.code == 1
    assert "interface" in result.err
    assert "Traceback" not in result.err


SEVERAL = ["eth1", "eth2"]


def test_several_interfaces_by_flag_environment_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--interface", "eth1", "--interface", "eth2", "--address", "eth2=10.0.2.1")
    result = run("config", "show", "--json", *flags)
    by_flag = {one["name"]: one["value"] for one in result.json["settings"]}
    assert (by_flag["interface"], by_flag["address"]) == (SEVERAL, ["eth2=10.0.2.1"])
    config = tmp_path / "bootserve.toml"
    config.write_text('interface = ["eth1", "eth2"]\n')
    assert settings("--config", config)["interface"] == (SEVERAL, f"file {config}")
    monkeypatch.setenv("BOOTSERVE_INTERFACE", "eth1, eth2")
    assert settings()["interface"] == (SEVERAL, "BOOTSERVE_INTERFACE")
    lines = run("config", "show").out.splitlines()
    assert lines[1].split()[:3] == ["interface", "eth1,", "eth2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--interface a --interface a", "interface (flag): interface a is given twice"),
        ("--interface a --interface b --address 10.0.0.1", "has 10.0.0.1, such as b=10.0.0.1"),
        ("--interface a --address b=10.0.0.1", "b is none of the interfaces to serve on"),
        ("--interface a --address 10.0.0.1 --address 10.0.0.2", "a is given two addresses"),
        (
            "--interface a --interface b --address a=10.0.0.1 --address b=10.0.0.1",
            "address (flag): 10.0.0.1 is given to two interfaces",
        ),
        ("--interface a --address a=10.0.0", "'10.0.0' is not an IPv4 address"),
        ("--interface sixteen-letters-", "at most 15 characters"),
    ],
)
def test_interfaces_and_addresses_that_do_not_go_together(words: str, said: str) -> None:
    result = run("serve", *words.split())
    assert result.code == 1
    assert said in result.err.replace("\n", " ")
