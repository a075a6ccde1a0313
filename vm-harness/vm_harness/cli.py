"""The command ``vm-harness``."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vm_harness import registry
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab, mac_for
from vm_harness.net import list_namespaces
from vm_harness.phases import BootPhases, ConsolePhases, PhaseSource, follow
from vm_harness.registry import LabState
from vm_harness.server import admin_socket, default_command, run_cli
from vm_harness.terminal import attach
from vm_harness.timing import UP

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A QEMU lab that boots virtual machines through bootserve, all in network namespaces.",
)


class FirmwareName(StrEnum):
    """The firmware of a VM."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_HTTP = "uefi-http"
    UEFI_ARM64 = "uefi-arm64"
    UEFI_ARM64_HTTP = "uefi-arm64-http"


class NicName(StrEnum):
    """The NIC of a VM."""

    VIRTIO = "virtio-net-pci"
    E1000 = "e1000"


LabOption = Annotated[str, typer.Option("--lab", help="The lab's id, if several are up.")]


@app.command()
def up(
    bootserve: Annotated[
        str, typer.Option(metavar="COMMAND", help="How bootserve is called.")
    ] = "",
    no_bootserve: Annotated[
        bool, typer.Option("--no-bootserve", help="Only the network and its DHCP server.")
    ] = False,
    state_dir: Annotated[
        Path | None, typer.Option(help="bootserve's state, kept by 'down' (default: in the lab).")
    ] = None,
    serve_argument: Annotated[
        list[str] | None, typer.Option(help="An argument for 'bootserve serve'; repeatable.")
    ] = None,
) -> None:
    """Make a lab: a switch, an ordinary DHCP server and bootserve. It stands until 'down'."""
    lab = Lab.create()
    try:
        if not no_bootserve:
            command = shlex.split(bootserve) or default_command()
            server = lab.bootserve(
                state_dir=state_dir.absolute() if state_dir else None,
                command=command,
                arguments=serve_argument or (),
            ).start()
            lab.state = replace(
                lab.state, bootserve=tuple(command), state_dir=str(server.state_dir)
            )
        lab.keep()
    except BaseException:
        lab.down()
        raise
    _describe(lab.state)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the labs of this machine, and what is left of dead ones."""
    labs = registry.all_labs()
    if as_json:
        everything = {
            "labs": [_as_json(lab) for lab in labs],
            "orphans": registry.orphans(),
        }
        print(json.dumps(everything, indent=2))
        return
    for lab in labs:
        _describe(lab)
    for lab_id in registry.orphans():
        print(f"lab {lab_id}: only remains of it; 'vm-harness down' removes them")
    if not labs and not registry.orphans():
        print("no lab is up")


@app.command()
def boot(
    node: str,
    firmware: Annotated[FirmwareName, typer.Option()] = FirmwareName.BIOS,
    mac: Annotated[
        str, typer.Option(help="Default: the node's in bootserve, else made from the name.")
    ] = "",
    memory: Annotated[int, typer.Option(min=64, help="MiB")] = 768,
    nic: Annotated[NicName, typer.Option()] = NicName.VIRTIO,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until it must be up.")] = UP,
    until: Annotated[
        str, typer.Option(help="The phase to wait for (default: up; for an unknown VM, the end).")
    ] = "",
    console: Annotated[bool, typer.Option("--console", help="Show its console, too.")] = False,
    lab: LabOption = "",
) -> None:
    """Boot a VM and show its phases as they happen; the VM stays on until 'stop' or 'down'."""
    home = Lab.open(lab)
    known = _mac_in_bootserve(home.state, node)
    vm = home.vm(
        node, mac=mac or known or mac_for(node), firmware=firmware.value, memory=memory,
        nic=nic.value,
    )  # fmt: skip
    print(f"{node}: {vm.mac}, {firmware.value}, {memory} MiB, {home.accelerator}", flush=True)
    vm.start()
    if console:
        vm.console.on_data(lambda data: _write(data))
    sources: list[PhaseSource] = [ConsolePhases(vm)]
    if known:
        sources.append(BootPhases(admin_socket(Path(home.state.state_dir)), node, vm.started_at))
    goals = ("up",) if known else ("no-boot", "unknown", "login")
    try:
        for phase in follow(vm, sources, until=[until] if until else goals, timeout=timeout):
            print(phase, flush=True)
    finally:
        log = vm.console_log
        vm.detach()
    print(f"{node} is on: 'vm-harness console {node}', 'vm-harness stop {node}'; log: {log}")


@app.command(name="console")
def console_command(node: str, lab: LabOption = "") -> None:
    """Join this terminal to a VM's serial console; Ctrl-] leaves it."""
    vm = Lab.open(lab).find_vm(node)
    if not vm.running:
        raise HarnessError(f"{node} is off")
    vm.connect()
    try:
        attach(vm)
    finally:
        vm.detach()


@app.command()
def stop(node: str, lab: LabOption = "") -> None:
    """Take a VM's power away and remove it."""
    Lab.open(lab).find_vm(node).close()
    print(f"{node} is off")


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def exec_command(
    where: Annotated[str, typer.Argument(metavar="switch|dhcp|server")],
    command: list[str],
    lab: LabOption = "",
) -> None:
    """Run a command in one of the lab's namespaces: vm-harness exec server -- ss -lntu."""
    namespace = Lab.open(lab).network.namespace(where)
    if not namespace.exists:
        raise HarnessError(f"the lab has no namespace {where!r}")
    argv = namespace.command(command)
    os.execvp(argv[0], argv)


@app.command()
def down(
    lab_id: Annotated[str, typer.Argument(metavar="[LAB]")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Also labs whose owner, such as a test run, lives.")
    ] = False,
) -> None:
    """Remove the lab named, or every one that 'up' made and all that crashes left behind."""
    if lab_id:
        doomed = [lab_id]
    else:
        labs = registry.all_labs()
        doomed = [lab.id for lab in labs if everything or lab.kept or lab.stale]
        doomed += registry.orphans()
    for one in doomed:
        registry.remove(one)
        print(f"lab {one} is down")
    if not doomed:
        print("no lab is up")


def _describe(lab: LabState) -> None:
    owner = "" if lab.kept else f", of process {lab.owner_pid}"
    dead = ", dead: 'vm-harness down' removes what is left" if lab.stale else ""
    print(f"lab {lab.id}: {lab.accelerator}, since {_clock(lab.created)}{owner}{dead}")
    for namespace in list_namespaces(registry.namespace_prefix(lab.id)):
        print(f"  namespace {namespace.name}: {len(namespace.pids())} processes")
    if lab.bootserve:
        command = shlex.join(lab.bootserve)
        print(f"  bootserve: BOOTSERVE_STATE_DIR={shlex.quote(lab.state_dir)} {command} status")
    for vm in _vms(lab):
        print(f"  VM {vm['name']}: {vm['mac']}, {vm['firmware']}, {'on' if vm['on'] else 'off'}")
    print(f"  files: {lab.directory}", flush=True)


def _as_json(lab: LabState) -> dict[str, Any]:
    return {
        "id": lab.id,
        "created": lab.created,
        "owner": lab.owner_pid or None,
        "stale": lab.stale,
        "accelerator": lab.accelerator,
        "bootserve": list(lab.bootserve),
        "state_dir": lab.state_dir,
        "directory": str(lab.directory),
        "namespaces": {
            n.name: n.pids() for n in list_namespaces(registry.namespace_prefix(lab.id))
        },
        "vms": _vms(lab),
    }


def _vms(state: LabState) -> list[dict[str, Any]]:
    lab = Lab(state)
    found = []
    for name in lab.vm_names():
        with contextlib.suppress(HarnessError):  # it went while we looked
            found.append(lab.find_vm(name))
    return [
        {"name": vm.name, "mac": vm.mac, "firmware": vm.machine.firmware, "on": vm.running}
        for vm in found
    ]


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _mac_in_bootserve(lab: LabState, node: str) -> str:
    """Return the first MAC of ``node``; say so and return an empty string when it is unknown."""
    if not lab.bootserve:
        return ""
    try:
        shown = run_cli(lab.bootserve, Path(lab.state_dir), ["node", "show", node, "--json"])
        return str(json.loads(shown)["macs"][0])
    except (HarnessError, ValueError, KeyError, IndexError) as error:
        print(f"{node} boots as a machine unknown to bootserve: {error}", file=sys.stderr)
        return ""


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the command line; a HarnessError is one line on stderr and exit code 1."""
    try:
        app()
    except HarnessError as error:
        print(f"vm-harness: {error}", file=sys.stderr)
        sys.exit(1)
