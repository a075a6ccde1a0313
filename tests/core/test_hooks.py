from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from bootserve.core.hooks import (
    body_of,
    environment_of,
    hooks_for,
    outline_of,
    pause_after,
    signature_of,
    without_userinfo,
)
from bootserve.model.hooks import Hook, HookCall, HookWhen
from tests.support.states import node

BEFORE, AFTER = HookWhen.BEFORE, HookWhen.AFTER
CALL = HookCall(
    key="rollout-3-n1-2/drain",
    hook="drain",
    when=BEFORE,
    node="n1",
    rack="r1",
    role="compute",
    macs=("52:54:00:00:00:01", "52:54:00:00:00:02"),
    labels=(("k8s", "worker-1"),),
    from_generation="web@1",
    to_generation="web@2",
    reboot="rollout-3-n1-2",
    rollout="3",
    attempt=2,
)


def hook(name: str, when: HookWhen = BEFORE, **fields: tuple[str, ...]) -> Hook:
    return Hook(name, when, run=("/bin/true",), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rack", "role", "names"),
    [
        ("r1", "compute", ["all", "r1", "compute", "both"]),
        ("r1", "", ["all", "r1"]),
        ("r2", "compute", ["all", "compute"]),
        ("", "", ["all"]),
    ],
)
def test_a_hook_is_for_the_racks_and_roles_that_it_names(
    rack: str, role: str, names: list[str]
) -> None:
    hooks = [
        hook("all"),
        hook("later", AFTER),
        hook("r1", racks=("r0", "r1")),
        hook("compute", roles=("compute",)),
        hook("both", racks=("r1",), roles=("compute",)),
    ]
    found = hooks_for(hooks, node(rack=rack, role=role), BEFORE)
    assert [one.name for one in found] == names


SECRET_HOOKS = (
    Hook("drain", BEFORE, run=("/opt/drain", "--token", "s3cret"), env={"B": "s3cret", "A": "1"}),
    Hook("url", AFTER, url="https://me:s3cret@noc.example:8443/s3cret?key=s3cret#s3cret"),
    Hook("at", AFTER, url="https://me:s3cret@s3cret@noc.example?s3cret", secret_file="/s3cret"),
)


def test_an_outline_of_a_hook_holds_no_secret() -> None:
    drain, url, at = (outline_of(one) for one in SECRET_HOOKS)
    assert "s3cret" not in json.dumps([drain, url, at])
    assert (drain["run"], drain["env"], drain["signed"]) == (["/opt/drain"], ["A", "B"], False)
    assert url["url"] == "https://noc.example:8443"
    assert (at["url"], at["signed"]) == ("https://noc.example", True)
    assert without_userinfo("https://me:pw@noc.example/a@b?c#d") == "https://noc.example/a@b?c#d"
    assert without_userinfo("http://noc.example/") == "http://noc.example/"
    assert without_userinfo("") == ""


def test_a_command_is_told_everything_by_its_environment() -> None:
    assert environment_of(CALL) == {
        "BOOTSERVE_KEY": "rollout-3-n1-2/drain",
        "BOOTSERVE_HOOK": "drain",
        "BOOTSERVE_WHEN": "before",
        "BOOTSERVE_NODE": "n1",
        "BOOTSERVE_RACK": "r1",
        "BOOTSERVE_ROLE": "compute",
        "BOOTSERVE_MACS": "52:54:00:00:00:01 52:54:00:00:00:02",
        "BOOTSERVE_LABELS": '{"k8s": "worker-1"}',
        "BOOTSERVE_FROM_GENERATION": "web@1",
        "BOOTSERVE_TO_GENERATION": "web@2",
        "BOOTSERVE_REBOOT": "rollout-3-n1-2",
        "BOOTSERVE_ROLLOUT": "3",
        "BOOTSERVE_ATTEMPT": "2",
        "BOOTSERVE_REBOOTED": "0",
        "BOOTSERVE_TEST": "0",
    }


def test_a_webhook_is_told_the_same_as_json() -> None:
    body = json.loads(body_of(CALL))
    assert {f"BOOTSERVE_{name.upper()}" for name in body} == set(environment_of(CALL))
    assert (body["macs"], body["labels"]) == (list(CALL.macs), {"k8s": "worker-1"})
    assert (body["attempt"], body["test"], body["when"]) == (2, False, "before")


def test_the_signature_is_as_the_docs_say_to_check_it() -> None:
    body = body_of(CALL)
    fields = dict(part.split("=") for part in signature_of(b"secret", body, 1700000000).split(","))
    signed = hmac.new(b"secret", f"{fields['t']}.".encode() + body, hashlib.sha256)
    assert (fields["t"], fields["v1"]) == ("1700000000", signed.hexdigest())


def test_pauses_double_differ_between_nodes_and_are_bounded() -> None:
    one = Hook("drain", BEFORE, run=("/bin/true",), pause=10)
    pauses = [pause_after(one, failures, "n1") for failures in range(1, 9)]
    assert pauses[1] == 2 * pauses[0]
    assert 7.5 <= pauses[0] <= 12.5
    assert pauses == sorted(pauses)
    assert pause_after(one, 10_000, "n1") <= 600 * 1.25
    assert len({pause_after(one, 1, f"n{number}") for number in range(50)}) > 40
