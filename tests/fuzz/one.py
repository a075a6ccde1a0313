"""Fuzzes one target until time or runs are over: ``python -m tests.fuzz.one MODULE TARGET``.

No other module of targets is imported: that would cost each start seconds. What follows the names
goes to libFuzzer. Ends with 0 when nothing was found.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

import atheris

FOLLOWED = [
    "bootserve.core.drift_text",
    "bootserve.core.firmware",
    "bootserve.core.exchanges",
    "bootserve.core.heartbeats",
    "bootserve.core.judge_http",
    "bootserve.core.judge_ipxe",
    "bootserve.core.judge_pxe",
    "bootserve.core.judgement",
    "bootserve.core.nbp_facts",
    "bootserve.core.offer_facts",
    "bootserve.core.offer_forms",
    "bootserve.core.offers",
    "bootserve.core.quirks",
    "bootserve.core.responder",
    "bootserve.core.script_facts",
    "bootserve.core.shapes",
    "bootserve.model",
    "bootserve.servers.boot.front",
    "bootserve.servers.boot.heartbeats",
    "bootserve.servers.boot.plain_heartbeats",
    "bootserve.servers.boot.reports",
    "bootserve.servers.boot.scripts",
    "bootserve.servers.tftp_budget",
    "bootserve.servers.tftp_engine",
    "bootserve.store.journal_line",
    "bootserve.store.records",
    "bootserve.wire",
]
"""The modules whose branches are counted: each costs time at every start."""

_API = ["bootserve.core.audit_verify", "bootserve.core.transactions", "bootserve.servers.admin"]
_FILES = ["bootserve.core.site"]
ALSO_FOLLOWED = {
    "admin": [*_API, "bootserve.core.site.changes"],
    "admin-query": _API,
    "admin-values": [*_API, "bootserve.core.site.changes"],
    "imports": _FILES,
    "oidc": ["bootserve.core.claims", "bootserve.servers.admin.oidc"],
    "redfish": ["bootserve.servers.reboots.redfish"],
    "site": _FILES,
    "webhook": ["bootserve.servers.reboots"],
}
"""What single targets meet besides."""


def _others(target: str) -> list[str]:
    """Return the package's modules that are not followed: atheris includes whole packages only."""
    ours = [*FOLLOWED, *ALSO_FOLLOWED.get(target, [])]
    spec = importlib.util.find_spec("bootserve")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    parts = (path.relative_to(root.parent).with_suffix("").parts for path in root.rglob("*.py"))
    names = {".".join(one).removesuffix(".__init__") for one in parts}
    followed = {one for one in names if any(f"{one}.".startswith(f"{up}.") for up in ours)}
    return sorted(names - followed)


with atheris.instrument_imports(
    include=["bootserve"], exclude=_others(sys.argv[2]), enable_loader_override=False
):
    TARGETS = importlib.import_module(f"tests.fuzz.{sys.argv[1]}").TARGETS


def main() -> None:
    """Write the seeds to this run's corpus and hand over to libFuzzer, which ends the process."""
    _, name, *flags = sys.argv[1:]
    target = TARGETS[name]
    corpus = Path(tempfile.mkdtemp(prefix=f"bootserve-fuzz-{name}-"))
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    kept = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"]
    atheris.Setup([f"fuzz-{name}", *kept, *flags, str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
