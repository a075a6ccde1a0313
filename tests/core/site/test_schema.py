"""The JSON Schema of site.yaml is the one that is published, and takes what is valid."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import yaml
from hypothesis import given, settings

from bootserve.core.site.loading import load_site
from bootserve.core.site.schema import json_schema
from bootserve.core.site.writing import write_site
from bootserve.model.desired import DesiredState
from tests.support.bundles import ROOT
from tests.support.sites import states

VALIDATOR = jsonschema_rs.Draft202012Validator(json.loads(json_schema()))


def problems(text: str) -> list[str]:
    """Return what an editor marks in a file: it reads plain YAML and goes by the schema alone."""
    return [str(error) for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_the_published_schema_is_current() -> None:
    published = (ROOT / "docs/site.schema.json").read_text()
    assert published == json_schema(), "write it: bootserve schema site -o docs/site.schema.json"


def test_it_is_a_schema_that_tells_right_from_wrong() -> None:
    assert jsonschema_rs.meta.is_valid(json.loads(json_schema()))
    good = {
        "format": 1,
        "roles": {"compute": {"image": "web"}},
        "racks": {"r1": {"nodes": {"n[1-2]": {"macs": "3c:ec:ef:00:00:[01-02]"}}}},
        "pins": {"site": "web@1", "rack/r1": ["web@2", "db@1"]},
        "nbp_pins": {"site": {"x64": "ipxe.efi"}},
    }
    assert VALIDATOR.is_valid(good)
    wrongs: list[dict[str, Any]] = [
        {"role": {}},
        {"nodes": {"n1": {}}},
        {"nodes": {"n1": {"macs": "a", "arch": "vax"}}},
        {"pins": {"site": "web"}},
        {"nbp_pins": {"site": {"sparc": "x"}}},
    ]
    for wrong in wrongs:
        assert not VALIDATOR.is_valid({**good, **wrong}), wrong


def test_the_example_of_the_manual_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/site.md").read_text(), re.DOTALL)
    assert problems(example) == []
    read = load_site(example, "site.yaml").over(DesiredState())
    assert len(read.nodes) == 43
    assert problems(example.replace("macs:", "mac:"))


@settings(max_examples=60, deadline=None)
@given(states())
def test_what_is_exported_is_valid(desired: DesiredState) -> None:
    assert problems(write_site(desired)) == []
