"""The JSON Schema of site.yaml is the one that is published, and takes what is valid."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs

from bootserve.core.site.schema import json_schema
from tests.support.bundles import ROOT


def test_the_published_schema_is_current() -> None:
    published = (ROOT / "docs/site.schema.json").read_text()
    assert published == json_schema(), "write it: bootserve schema site -o docs/site.schema.json"


def test_it_is_a_schema_that_tells_right_from_wrong() -> None:
    schema = json.loads(json_schema())
    assert jsonschema_rs.meta.is_valid(schema)
    validator = jsonschema_rs.Draft202012Validator(schema)
    good = {
        "format": 1,
        "roles": {"compute": {"image": "web"}},
        "racks": {"r1": {"nodes": {"n[1-2]": {"macs": "3c:ec:ef:00:00:[01-02]"}}}},
        "pins": {"site": "web@1", "rack/r1": ["web@2", "db@1"]},
        "nbp_pins": {"site": {"x64": "ipxe.efi"}},
    }
    assert validator.is_valid(good)
    wrongs: list[dict[str, Any]] = [
        {"role": {}},
        {"nodes": {"n1": {}}},
        {"nodes": {"n1": {"macs": "a", "arch": "vax"}}},
        {"pins": {"site": "web"}},
        {"nbp_pins": {"site": {"sparc": "x"}}},
    ]
    for wrong in wrongs:
        assert not validator.is_valid({**good, **wrong}), wrong
