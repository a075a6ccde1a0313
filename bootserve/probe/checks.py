"""What is fetched after the offers: the NBP, the script, and the artifacts that it names."""

from __future__ import annotations

import re
from typing import Final

from bootserve.core.firmware import Choice, Firmware
from bootserve.core.nbp_facts import inspect_nbp
from bootserve.core.script_facts import ScriptArtifact, artifacts_of, generation_of
from bootserve.errors import BootserveError
from bootserve.model.finding import Finding, Level
from bootserve.probe.fetch import Fetched, fetch_http, fetch_tftp
from bootserve.wire.pxe import ClientArch

__all__ = ["check_artifact", "check_nbp", "check_script"]

MOST_NBP: Final = 64 << 20
MOST_SCRIPT: Final = 1 << 20
MOST_ARTIFACT: Final = 1 << 30
FIRST_BYTES: Final = 65536
BOOTABLE: Final = (".efi", ".iso", ".img")
_ARCH: Final = {
    Firmware.BIOS: ClientArch.BIOS,
    Firmware.UEFI: ClientArch.EFI_X64,
    Firmware.UEFI_ARM64: ClientArch.EFI_ARM64,
    Firmware.HTTP: ClientArch.EFI_X64,
}
_MAGIC: Final = {"squashfs": (0, b"hsqs"), "erofs": (1024, b"\xe2\xe1\xf5\xe0")}


def check_nbp(firmware: Firmware, choice: Choice, address: str) -> list[Finding]:
    """Fetch the boot program that ``firmware`` would load, and return what is to say of it."""
    try:
        data = _nbp_by_http(choice.file, address) if _is_url(choice.file) else _nbp(choice, address)
    except BootserveError as error:
        return [_failed("NBP", str(error), _nbp_hint(choice))]
    if isinstance(data, Finding):
        return [data]
    facts = inspect_nbp(data)
    text = f"{choice.file}, {len(data)} bytes: {facts}"
    wanted = _ARCH[firmware]
    if facts.arch is None:
        return [
            Finding(
                Level.WARNING,
                "NBP",
                text,
                "If it is no iPXE, see that it can run on this machine and fetch a script.",
            )
        ]
    if facts.arch is not wanted:
        return [_failed("NBP", f"{text}; the firmware needs {wanted}", _nbp_hint(choice))]
    if facts.features and not facts.features.http:
        return [_failed("NBP", f"{text}: it cannot fetch the script", "Use an iPXE with HTTP.")]
    return [Finding(Level.OK, "NBP", text)]


def _is_url(file: str) -> bool:
    return "://" in file


def _nbp(choice: Choice, address: str) -> bytes:
    return fetch_tftp(choice.server, choice.file, address=address, limit=MOST_NBP)


def _nbp_by_http(url: str, address: str) -> bytes | Finding:
    """Fetch as EDK2 does: a HEAD for the size, then GET."""
    head = fetch_http(url, address=address, limit=0, method="HEAD")
    if head.status != 200:
        return _failed("NBP", f"{url}: the server answers {head.status}", _NBP_THERE)
    if "content-length" not in head.headers:
        text = f"{url}: the answer to HEAD has no Content-Length, which EDK2 needs"
        return _failed("NBP", text, "Let the server say the size of the file.")
    kind = head.headers.get("content-type", "")
    if not url.lower().endswith(BOOTABLE) and not kind.startswith("application/efi"):
        text = f"{url} is {kind or 'of no type'}, which EDK2 does not boot"
        return _failed("NBP", text, "Serve it as application/efi, or under a name in .efi.")
    got = fetch_http(url, address=address, limit=MOST_NBP, keep=MOST_NBP)
    if got.size != _number(said := head.headers["content-length"]):
        return _failed("NBP", f"{url}: {got.size} bytes came of {said}")
    return got.head


_NOT_OURS: Final = "Let only bootserve send boot options to iPXE; the answers say who does."
_NBP_THERE: Final = "See that the file is in the server's nbp_dir ('bootserve doctor' looks)."


def _nbp_hint(choice: Choice) -> str:
    return f"See what {choice.offer.server} offers, and whether {choice.server} has the file."


def check_script(choice: Choice, address: str) -> tuple[list[Finding], tuple[ScriptArtifact, ...]]:
    """Fetch a preview of the node's script; return what is to say of it, and what it names.

    A preview mints no boot. The findings of a script that boots nothing say what it says.
    """
    if not _is_url(choice.file):
        text = f"{choice.file} comes by TFTP from {choice.server}: no script of bootserve"
        return [Finding(Level.WARNING, "script", text, _NOT_OURS)], ()
    url = choice.file + ("&" if "?" in choice.file else "?") + "preview=1"
    try:
        got = fetch_http(url, address=address, limit=MOST_SCRIPT, keep=MOST_SCRIPT)
    except BootserveError as error:
        return [_failed("script", str(error), "Is the boot plane's port open to this machine?")], ()
    text = got.head.decode("utf-8", "backslashreplace")
    if got.status != 200:
        said = text.strip().splitlines()[:1] or [""]
        found = f"{choice.file}: the server answers {got.status}: {said[0][:200]}"
        return [_failed("script", found, "Add the node: 'bootserve node add', or see its log.")], ()
    if not text.startswith("#!ipxe"):
        found = f"{choice.file} is no iPXE script (it begins with {text[:20]!r})"
        return [_failed("script", found, "See what serves it.")], ()
    return _script_findings(choice.file, text), artifacts_of(text)


def _script_findings(url: str, text: str) -> list[Finding]:
    if not artifacts_of(text):
        comment = next((line[2:] for line in text.splitlines() if line.startswith("# ")), "")
        hint = "'bootserve explain NODE' says why, if it should boot a generation."
        return [Finding(Level.WARNING, "script", f"{url} boots no generation: {comment}", hint)]
    found = [Finding(Level.OK, "script", f"{url} boots {generation_of(text) or 'something'}")]
    boot = re.search(r"\bbootserve\.boot=(\S+)", text)
    if boot and boot[1] != "preview":
        found.append(
            Finding(
                Level.WARNING,
                "script",
                f"the server took the probe for a node and made boot {boot[1]} for it",
                "Use a server that knows previews, or discount that boot.",
            )
        )
    return found


def check_artifact(artifact: ScriptArtifact, address: str, *, full: bool) -> Finding:
    """Fetch an artifact and return whether it is the one that its digest names.

    Of the root only the beginning is read, unless ``full``; its size, ETag and magic number have
    to do then.
    """
    partly = artifact.name == "root" and not full
    try:
        got = fetch_http(
            f"{artifact.url}?preview=1",
            address=address,
            limit=FIRST_BYTES if partly else MOST_ARTIFACT,
            first=FIRST_BYTES if partly else 0,
        )
    except BootserveError as error:
        return _failed(artifact.name, str(error), "Is the boot plane's port open to this machine?")
    short = artifact.sha256[:12]
    if got.status not in (200, 206):
        hint = f"Import the generation again: its {artifact.name} is gone or in quarantine."
        return _failed(artifact.name, f"{short}…: the server answers {got.status}", hint)
    if got.headers.get("etag", "").strip('"') != artifact.sha256:
        text = f"{short}…: its ETag is not its digest, so something else serves it"
        return _failed(artifact.name, text, "See which server or cache answers at that URL.")
    total = _total(got)
    if artifact.size and total != artifact.size:
        text = f"{short}…: {total} bytes where the script says {artifact.size}"
        return _failed(artifact.name, text, _AGAIN)
    return _judged(artifact, got, total)


_AGAIN: Final = "Run 'bootserve scrub' on the server and import the generation again."


def _total(got: Fetched) -> int:
    if got.status == 206:
        return _number(got.headers.get("content-range", "").rpartition("/")[2])
    return got.size if not got.is_cut else _number(got.headers.get("content-length", ""))


def _number(text: str) -> int:
    """Return the size that a header says; 0 for what is no number."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0


def _judged(artifact: ScriptArtifact, got: Fetched, total: int) -> Finding:
    short = artifact.sha256[:12]
    if got.size == total:
        if got.sha256 == artifact.sha256:
            return Finding(Level.OK, artifact.name, f"{short}…, {total} bytes, its digest is right")
        text = f"{short}…: what came has the sha256 {got.sha256[:12]}…"
        return _failed(artifact.name, text, _AGAIN)
    if artifact.name != "root":
        text = f"{short}…: {total} bytes are more than is read here"
        return Finding(Level.WARNING, artifact.name, text, "Check it with 'bootserve scrub'.")
    if not any(got.head[at : at + len(magic)] == magic for at, magic in _MAGIC.values()):
        text = f"{short}…: it begins like no squashfs and no erofs"
        return _failed(artifact.name, text, _AGAIN)
    text = f"{short}…, {total} bytes, its first {got.size} read; --full checks its digest"
    return Finding(Level.OK, artifact.name, text)


def _failed(subject: str, found: str, action: str = "See the server's log.") -> Finding:
    return Finding(Level.ERROR, subject, found, action)
