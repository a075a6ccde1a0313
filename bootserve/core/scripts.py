"""iPXE scripts from templates: what a node, a stranger or a held node is told to do.

Rendering is strict: a template that uses a name it is not given fails, at start and at reload
rather than at a node's boot. Every script works on iPXE from 2019.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined, TemplateError, TemplateSyntaxError

from bootserve.core.forms import MARKS, Form, only_prints
from bootserve.core.ipxe import UNKNOWN_IPXE, Ipxe
from bootserve.core.jitter import jittered, scaled, spread_of
from bootserve.core.resolve import Action
from bootserve.core.snapshot import NodePlan, Snapshot, machine_id
from bootserve.errors import InvalidInput
from bootserve.model.generation import Generation
from bootserve.model.names import Mac

__all__ = ["TEMPLATES", "BootLine", "ScriptRenderer", "script_url"]

TEMPLATES = ("node", "hold", "wait", "unresolvable", "discovery", "local")
"""The templates' names; each is a file ``NAME.ipxe.j2``."""

ATTEMPTS = 5
HOLD_SECONDS = 30
PREVIEW_BOOT_ID = "preview"
MAX_FORMS = 1000
BOOT_NAMES = frozenset({"node", "boot_id", "cmdline", "script_url"})
"""The names of the node template whose values differ from boot to boot under one revision."""


@dataclass(frozen=True, slots=True)
class BootLine:
    """What ties a script to one boot: its id, the NIC and iPXE that asked, the server it asked."""

    boot_id: str
    mac: Mac
    http_base: str
    ipxe: Ipxe = UNKNOWN_IPXE


class _Who(NamedTuple):
    """What of a boot's script differs from boot to boot, in the order of MARKS."""

    node: str
    boot_id: str
    mac: str
    kernel_args: str
    machine_id: str


_FormKey = tuple[str, int, int, str, tuple[int, ...], bool, Ipxe]


def script_url(http_base: str, mac: Mac) -> str:
    """Return the absolute URL of the script for ``mac``.

    Absolute, since ``${next-server}`` is the other DHCP server's address behind a proxyDHCP.
    """
    return f"{http_base}/boot/{mac.replace(':', '-')}.ipxe"


def _console_safe(text: str) -> str:
    # iPXE expands ${…} and acts on ||, && and line ends wherever they stand in a script.
    return re.sub(r"[^A-Za-z0-9 @.,:;/()_'=+-]", "?", text)


class ScriptRenderer:
    """Renders the scripts from template sources.

    ``sources`` maps each name of :data:`TEMPLATES` to its text. Raises InvalidInput when one is
    missing, does not parse or does not render, with its name and line.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        missing = [name for name in TEMPLATES if name not in sources]
        if missing:
            raise InvalidInput(f"there is no template {missing[0]}.ipxe.j2")
        environment = Environment(
            loader=DictLoader(dict(sources)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        self._templates = {}
        for name in TEMPLATES:
            try:
                self._templates[name] = environment.get_template(name)
            except TemplateSyntaxError as error:
                raise InvalidInput(
                    f"{name}.ipxe.j2, line {error.lineno}: {error.message}"
                ) from None
        self._check()
        self._formable = only_prints(environment, sources["node"], BOOT_NAMES)
        self._forms: dict[_FormKey, Form] = {}

    def _check(self) -> None:
        base = "http://192.0.2.1:8080"
        line = BootLine(PREVIEW_BOOT_ID, "52:54:00:00:00:01", base)
        samples: dict[str, dict[str, Any]] = {
            "node": {
                "node": "n1",
                "generation": "image@1",
                "revision": 1,
                "boot_id": line.boot_id,
                "kernel_url": f"{base}/artifacts/sha256/{'0' * 64}",
                "initrd_url": f"{base}/artifacts/sha256/{'0' * 64}",
                "cmdline": "quiet",
                "pauses": [1] * ATTEMPTS,
                "ipxe": UNKNOWN_IPXE,
                "script_url": script_url(base, line.mac),
            },
            "discovery": {
                "mac": line.mac,
                "register": True,
                "pause": HOLD_SECONDS,
                "script_url": script_url(base, line.mac),
            },
        }
        held = {
            "node": "n1",
            "reason": "a reason",
            "ipxe": UNKNOWN_IPXE,
            "pause": HOLD_SECONDS,
            "script_url": script_url(base, line.mac),
        }
        for name in TEMPLATES:
            text = self._render(name, **samples.get(name, held))
            if not text.startswith("#!ipxe\n"):
                raise InvalidInput(f"{name}.ipxe.j2, line 1: a script must begin with '#!ipxe'")

    def _render(self, name: str, **values: Any) -> str:
        try:
            return self._templates[name].render(values)
        except TemplateError as error:
            raise InvalidInput(f"{name}.ipxe.j2, line {_line_of(error)}: {error}") from None

    def for_node(self, snapshot: Snapshot, plan: NodePlan, line: BootLine) -> str:
        """Return the script for a known node: boot, hold, unresolvable or local, as its plan says.

        Only a script of :attr:`Action.BOOT` carries the boot id.
        """
        resolution = plan.resolution
        if resolution.action is not Action.BOOT or resolution.generation is None:
            return self._held(resolution.action.value, plan, line, resolution.reason)
        return self.boot(snapshot, plan, resolution.generation, line)

    def boot(
        self, snapshot: Snapshot, plan: NodePlan, generation: Generation, line: BootLine
    ) -> str:
        """Return the script that boots the node of ``plan`` from ``generation``."""
        who = _Who(
            plan.node.name,
            line.boot_id,
            line.mac.replace(":", "-"),
            plan.kernel_args,
            machine_id(snapshot.site_id, plan.node.name),
        )
        pauses = _pauses(line.mac)
        if not self._formable:
            return self._boot(snapshot, generation, line, who, pauses)
        key = (
            generation.digest,
            generation.ref.number,
            snapshot.revision.number,
            line.http_base,
            pauses,
            bool(plan.kernel_args),
            line.ipxe,
        )
        form = self._forms.get(key)
        if form is None:
            marked = _Who(*MARKS)
            if not plan.kernel_args:
                marked = marked._replace(kernel_args="")
            form = Form(self._boot(snapshot, generation, line, marked, pauses))
            if len(self._forms) >= MAX_FORMS:
                self._forms.clear()
            self._forms[key] = form
        return form.fill(who)

    def _boot(
        self,
        snapshot: Snapshot,
        generation: Generation,
        line: BootLine,
        who: _Who,
        pauses: tuple[int, ...],
    ) -> str:
        manifest = generation.manifest
        artifacts = f"{line.http_base}/artifacts/sha256/"
        return self._render(
            "node",
            node=who.node,
            generation=str(generation.ref),
            revision=snapshot.revision.number,
            boot_id=who.boot_id,
            kernel_url=artifacts + manifest.artifacts["kernel"].sha256,
            initrd_url=artifacts + manifest.artifacts["initrd"].sha256,
            cmdline=_kernel_cmdline(who, generation, line.http_base),
            pauses=list(pauses),
            ipxe=line.ipxe,
            script_url=script_url(line.http_base, who.mac),
        )

    def held(self, plan: NodePlan, line: BootLine, reason: str) -> str:
        """Return the hold script for a known node, saying ``reason`` on its console."""
        return self._held("hold", plan, line, reason)

    def waiting(self, plan: NodePlan, line: BootLine, reason: str, seconds: float) -> str:
        """Return the script of a node in a loop: it asks again in ``seconds``."""
        return self._held("wait", plan, line, reason, ceil(seconds))

    def _held(
        self, template: str, plan: NodePlan, line: BootLine, reason: str, pause: int = 0
    ) -> str:
        return self._render(
            template,
            node=plan.node.name,
            reason=_console_safe(reason),
            ipxe=line.ipxe,
            pause=pause or jittered(HOLD_SECONDS, line.mac),
            script_url=script_url(line.http_base, line.mac),
        )

    def for_stranger(self, mac: Mac, http_base: str, *, register: bool) -> str:
        """Return the script for a machine that is no node, under policy hold or register."""
        return self._render(
            "discovery",
            mac=mac,
            register=register,
            pause=HOLD_SECONDS,
            script_url=script_url(http_base, mac),
        )


def _kernel_cmdline(who: _Who, generation: Generation, http_base: str) -> str:
    """Return the kernel command line of a boot, after ``kernel URL`` in the script.

    The generation's own arguments come first, then the role's, rack's and node's, then what the
    initramfs needs: the last word of a repeated argument wins in the kernel and systemd, so no
    earlier part can undo what identifies the boot.
    """
    manifest = generation.manifest
    root = manifest.artifacts["root"]
    own = (
        "initrd=initrd panic=30",
        manifest.cmdline,
        who.kernel_args,
        f"BOOTIF=01-{who.mac}",
        f"bootserve.server={http_base}",
        f"bootserve.boot={who.boot_id}",
        f"bootserve.generation={generation.ref}",
        f"bootserve.root={root.sha256}",
        f"bootserve.root_size={root.size}",
        f"bootserve.root_format={manifest.root_format}",
        f"bootserve.overlay={manifest.overlay_size}",
        f"bootserve.min_memory={manifest.min_memory_mib}",
        f"systemd.machine_id={who.machine_id}",
        f"systemd.hostname={who.node}",
    )
    return " ".join(part for part in own if part)


def _pauses_of(spread: int) -> tuple[int, ...]:
    return tuple(max(1, scaled(2 << attempt, spread)) for attempt in range(ATTEMPTS))


def _steps() -> list[int]:
    """Return the spreads at which a pause becomes longer, in order."""
    return sorted(
        bisect_left(range(65536), pause, key=partial(scaled, 2 << attempt))
        for attempt in range(ATTEMPTS)
        for pause in range(scaled(2 << attempt, 0) + 1, scaled(2 << attempt, 65535) + 1)
    )


_STEPS = _steps()
_ALL_PAUSES = [_pauses_of(spread) for spread in (0, *_STEPS)]


def _pauses(mac: Mac) -> tuple[int, ...]:
    """Return the pauses after each failed attempt in seconds, growing and jittered by the MAC."""
    return _ALL_PAUSES[bisect_right(_STEPS, spread_of(mac))]


def _line_of(error: TemplateError) -> int:
    line = 0
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
