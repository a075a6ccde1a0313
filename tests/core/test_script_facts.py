"""What a script names is what the renderer put into it."""

from __future__ import annotations

from bootserve import resources
from bootserve.core.script_facts import ScriptArtifact, artifacts_of, generation_of
from bootserve.core.scripts import TEMPLATES, BootLine, ScriptRenderer
from tests.support.states import MAC, digest, generation, node, snapshot, state

RENDERER = ScriptRenderer(
    {name: (resources.templates() / f"{name}.ipxe.j2").read_text() for name in TEMPLATES}
)
BASE = "http://10.0.0.1:8080"


def test_the_shipped_node_script() -> None:
    made = snapshot(state(node(role="compute"), pins="site web@1"), generation("web@1"))
    plan = made.plan(MAC)
    assert plan
    script = RENDERER.for_node(made, plan, BootLine("preview", MAC, BASE))
    assert generation_of(script) == "web@1"
    assert artifacts_of(script) == tuple(
        ScriptArtifact(name, f"{BASE}/artifacts/sha256/{digest(f'web 1 {name}')}",
                       digest(f"web 1 {name}"), 4096 if name == "root" else 0)
        for name in ("kernel", "initrd", "root")
    )  # fmt: skip


def test_a_script_that_boots_nothing() -> None:
    script = RENDERER.for_stranger(MAC, BASE, register=False)
    assert (artifacts_of(script), generation_of(script)) == ((), "")


def test_a_size_that_no_file_has_is_none() -> None:
    text = f"bootserve.server=http://a bootserve.root={'1' * 64} bootserve.root_size={'9' * 5000}"
    assert [one.size for one in artifacts_of(text)] == [0]
