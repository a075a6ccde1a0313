"""What docs/site.md shows as a site file is one, and means what the page says."""

from __future__ import annotations

import re

from bootserve.core.site.loading import load_site
from bootserve.model.desired import DesiredState
from tests.support.bundles import ROOT


def test_the_example_of_the_docs_is_a_site() -> None:
    text = (ROOT / "docs/site.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    state = load_site(example, "site.yaml").over(DesiredState())
    assert len(state.nodes) == 43
    assert state.nodes["r12n40"].macs == ("3c:ec:ef:00:00:28",)
    assert dict(state.nodes["r12n40"].labels) == {"address": "10.12.0.50", "row": "b"}
    assert state.nodes["r12s2"].role == "ceph-osd"
    assert {str(pin.generation) for pin in state.pins.values()} == {
        "k8s-node@40",
        "k8s-node@41",
        "ceph@7",
    }
