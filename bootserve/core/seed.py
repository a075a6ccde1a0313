"""The cloud-init NoCloud seed of a boot."""

from __future__ import annotations

import json

from bootserve.core.snapshot import Snapshot, machine_id
from bootserve.model.boot import Boot

__all__ = ["SEED_FILES", "seed_file"]

SEED_FILES = ("meta-data", "user-data", "vendor-data")


def seed_file(name: str, snapshot: Snapshot, boot: Boot) -> str:
    """Return the text of one seed file (cloud-init's NoCloud data source).

    The instance id is the node's machine-id, which stays the same from boot to boot. The node's
    labels are in the meta-data; the user-data asks cloud-init for nothing.
    """
    if name != "meta-data":
        return "#cloud-config\n{}\n"
    plan = snapshot.plans.get(boot.node)
    values = {
        "instance-id": machine_id(snapshot.site_id, boot.node),
        "local-hostname": boot.node,
        "bootserve": {
            "boot": boot.id,
            "generation": str(boot.generation),
            "revision": boot.revision,
            "rack": plan.node.rack if plan else "",
            "role": plan.node.role if plan else "",
            "labels": dict(plan.node.labels) if plan else {},
        },
    }
    return json.dumps(values, indent=1) + "\n"  # JSON is YAML
