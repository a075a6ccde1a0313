from __future__ import annotations

from typing import Any

import pytest

from bootserve.errors import InvalidInput
from bootserve.model.hooks import Hook, HookWhen, OnFailure

GOOD: dict[str, Any] = {"name": "drain", "when": HookWhen.BEFORE, "run": ("/bin/true",)}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Drain it"}, "not a usable hook name"),
        ({"run": ()}, "either run, a command, or url"),
        ({"url": "https://x/"}, "either run, a command, or url"),
        ({"run": ("drain",)}, "absolute path"),
        ({"run": ("/bin/a", "b\0")}, "null character"),
        ({"run": (), "url": "ftp://x/"}, "begins with https://"),
        ({"run": (), "url": "https://a b/"}, "holds no blanks"),
        ({"timeout": 0.0}, "timeout is seconds"),
        ({"timeout": float("nan")}, "timeout is seconds"),
        ({"retries": -1}, "retries is from"),
        ({"pause": 0.0}, "pause is seconds"),
        ({"secret_file": "/s"}, "go with url"),
        ({"run": (), "url": "https://x/", "secret_file": "s"}, "absolute paths"),
        ({"run": (), "url": "https://x/", "env": {"A": "b"}}, "env goes with run"),
        ({"env": {"BOOTSERVE_NODE": "x"}}, "the server's own"),
        ({"env": {"A=B": "x"}}, "no name of a variable"),
        ({"env": {"A": "\0"}}, "null character"),
        ({"when": HookWhen.REBOOT, "on_failure": OnFailure.IGNORE}, "waited for in vain"),
    ],
)
def test_what_is_wrong_is_said_of_the_hook(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Hook(**{**GOOD, **fields})


def test_a_command_and_a_webhook_are_taken() -> None:
    hook = Hook(**GOOD, env={"KUBECONFIG": "/etc/kube"}, racks=("r1",), retries=0)
    assert (hook.env, hook.url) == ({"KUBECONFIG": "/etc/kube"}, "")
    url = "https://10.0.0.1:8443/hook"
    hook = Hook("notify", HookWhen.AFTER, url=url, secret_file="/etc/secret")
    assert (hook.run, hook.url) == ((), url)
