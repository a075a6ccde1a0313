"""A script filled into its form is the script rendered in full, whatever the template does."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, TemplateSyntaxError

from bootserve.core.forms import MARKS, Form, only_prints
from bootserve.core.scripts import BOOT_NAMES, BootLine, ScriptRenderer
from bootserve.model.desired import Rack
from tests.core.test_scripts import BASE, SHIPPED
from tests.support.states import generation, node, snapshot, state

PRINTED = ("node", "boot_id", "cmdline", "script_url", "generation", "revision", "kernel_url")
SAFE = (
    "{{ node }}",
    "{% for pause in pauses[:-1] %}{{ loop.index }} {{ pause }} {{ node }}\n{% endfor %}",
    "{% if revision > 1 %}{{ cmdline }}{% else %}{{ boot_id }}{% endif %}",
    "{{ pauses | length }} {{ 'x' | upper }} {{ pauses[-1] + 1 }} 100 % %s {}",
)
NOT_SAFE = (
    "{{ node | upper }}",
    "{{ node[0] }}",
    "{{ node ~ 'x' }}",
    "{{ node if revision else '' }}",
    "{{ 'a' if node else 'b' }}",
    "{% if 'n1' in node %}a{% endif %}",
    "{% for c in boot_id %}{{ c }} {% endfor %}",
    "{% for x in [cmdline] %}{{ x | length }}{% endfor %}",
    "{% set mine = node %}{{ mine | upper }}",
    "{% filter upper %}{{ node }}{% endfilter %}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(node) }}",
    "{% with x = script_url %}{{ x | length }}{% endwith %}",
    "{{ pauses | random }}",
    "{{ range(100) | random }}",
    "{{ node.upper() }}",
    "\ue000 {{ node }}",
)


FULL = "{{ node[:0] }}"
"""Prints nothing, and is nothing that a hole could stand for."""


def renderer(source: str) -> ScriptRenderer:
    return ScriptRenderer({**SHIPPED, "node": "#!ipxe\n" + source})


@pytest.mark.parametrize("source", SAFE)
def test_a_template_that_only_prints_is_filled(source: str) -> None:
    assert only_prints(Environment(), source, BOOT_NAMES)


@pytest.mark.parametrize("source", NOT_SAFE)
def test_a_template_that_does_more_is_rendered_in_full(source: str) -> None:
    assert not only_prints(Environment(), source, BOOT_NAMES)


def test_the_shipped_node_script_is_filled() -> None:
    assert only_prints(Environment(), SHIPPED["node"], BOOT_NAMES)


names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True)
arguments = st.text(string.ascii_letters + string.digits + "%= {}'", max_size=30).map(str.strip)
pieces = st.sampled_from([*SAFE, *NOT_SAFE[:10], *(f"{{{{ {name} }}}}" for name in PRINTED)])
sources = st.lists(st.one_of(pieces, st.text("ab%{ \n$", max_size=5)), max_size=6)
macs = st.integers(0, 65535).map(lambda n: f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}")


@settings(deadline=None, max_examples=60)
@given(sources, st.lists(st.tuples(names, macs, arguments), min_size=1, max_size=4), arguments)
def test_filled_equals_rendered(
    parts: list[str], boots: list[tuple[str, str, str]], rack_args: str
) -> None:
    source = "".join(parts).replace("{%{", "").replace("{{{", "")
    try:
        Environment().parse(source)
    except TemplateSyntaxError:
        source = SHIPPED["node"].removeprefix("#!ipxe\n")
    filling, full = renderer(source), renderer(FULL + source)
    for number, (name, mac, own) in enumerate(boots):
        one = node(name, mac, rack="r1", role="compute", kernel_args=own)
        desired = state(one, pins="site web@1", racks=(Rack("r1", rack_args),))
        found = snapshot(desired, generation("web@1", cmdline="quiet %s"), revision=number)
        line = BootLine(f"{number}" * 32, mac, BASE)
        plan = found.plans[name]
        assert filling.for_node(found, plan, line) == full.for_node(found, plan, line)


def test_two_generations_and_revisions_never_share_a_form() -> None:
    scripts = ScriptRenderer(SHIPPED)
    line = BootLine("a" * 32, "52:54:00:00:00:01", BASE)
    known = (generation("web@1"), generation("web@2"))
    seen = set()
    for number in (1, 2):
        for pins in ("site web@1", "site web@2"):
            desired = state(node(role="compute"), pins=pins)
            found = snapshot(desired, *known, revision=number)
            text = scripts.for_node(found, found.plans["n1"], line)
            assert f"generation={pins[5:]} " in text
            assert f"revision {number}, " in text
            seen.add(text)
    assert len(seen) == 4


def test_a_form_may_have_no_hole_or_one() -> None:
    values = [str(place) for place in range(len(MARKS))]
    assert Form("100 %").fill(values) == "100 %"
    assert Form(f"a{MARKS[3]}%s").fill(values) == "a3%s"
    assert Form(f"{MARKS[1]}{MARKS[0]}{MARKS[1]}").fill(values) == "101"
