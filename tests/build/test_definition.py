"""Definitions: what is refused and how it is said, and what their digest depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bootserve.build.definition import load_definition
from bootserve.errors import InvalidInput
from bootserve.model.names import Arch

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = """\
name = "web"
distribution = "bookworm"
kernel = "cloud"
packages = ["dbus"]
"""


def write(folder: Path, toml: str = MINIMAL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image.toml").write_text(toml)
    return folder


def test_a_minimal_definition_has_the_documented_defaults(tmp_path: Path) -> None:
    definition = load_definition(write(tmp_path)).definition
    assert definition.arch is Arch.AMD64
    assert definition.root_format == "squashfs"
    assert definition.overlay_size == "50%"
    assert definition.mirror is None
    assert definition.sources_list is None
    assert definition.scripts == ()


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        (('name = "web"', 'name = "Web Server"'), "not a usable image name", "lower-case"),
        (('name = "web"\n', ""), "name: this field is missing", "Add `name"),
        (('"cloud"', '"tiny"'), "kernel: Input should be", "Correct `kernel`"),
        (('["dbus"]', '["dbus; rm"]'), "packages.0: String should match", "Correct"),
        (('["dbus"]', '"dbus"'), "packages: Input should be", "Correct `packages`"),
        (("kernel =", "kernal ="), "kernal: there is no such field", "The fields are"),
        (('["dbus"]', '["dbus"]\nmirror = "debian"'), "mirror: must be a URL", "Correct"),
        (('["dbus"]', '["dbus"]\ncmdline = "a ${b}"'), "kernel arguments", ""),
        (('["dbus"]', '["dbus"]\noverlay_size = "lots"'), "overlay_size: String", "Correct"),
        (('["dbus"]', '["dbus"]\nwritable = ["var"]'), "absolute path", "Correct"),
        (('["dbus"]', '["dbus"]\nmin_memory_mib = "1G"'), "min_memory_mib: Input", "Correct"),
        (('["dbus"]', '["dbus"]\nscripts = ["../x"]'), "no file of this folder", "relative"),
        (('["dbus"]', '["dbus"]\nscripts = ["gone"]'), "no file of this folder", "relative"),
        (('["dbus"]', '["dbus"]\nmodes = {"etc/x" = "0600"}'), "files/etc/x does not", "below"),
        (('["dbus"]', '["dbus"]\nmodes = {"etc/x" = "rw"}'), "octal mode", "Correct"),
        (('["dbus"]', '["dbus"'), "is not TOML", ""),
    ],
)
def test_a_bad_definition_is_told_with_file_field_and_what_to_do(
    change: tuple[str, str], field: str, hint: str, tmp_path: Path
) -> None:
    write(tmp_path, MINIMAL.replace(*change))
    with pytest.raises(InvalidInput) as caught:
        load_definition(tmp_path)
    assert str(tmp_path / "image.toml") in str(caught.value)
    assert field in str(caught.value)
    assert hint in caught.value.hint


def test_a_folder_without_definition_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"holds no image\.toml"):
        load_definition(tmp_path)


@pytest.mark.parametrize(("mode", "content"), [(0o644, "#!/bin/sh\n"), (0o755, "echo\n")])
def test_a_script_that_cannot_be_run_is_told(mode: int, content: str, tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + 'scripts = ["go"]\n')
    (tmp_path / "go").write_text(content)
    (tmp_path / "go").chmod(mode)
    with pytest.raises(InvalidInput, match="cannot be run"):
        load_definition(tmp_path)


def test_a_private_file_needs_its_mode_in_the_definition(tmp_path: Path) -> None:
    write(tmp_path)
    secret = tmp_path / "files/etc/key"
    secret.parent.mkdir(parents=True)
    secret.write_text("x")
    secret.chmod(0o600)
    with pytest.raises(InvalidInput, match="would become readable") as caught:
        load_definition(tmp_path)
    assert '"etc/key" = "0600"' in caught.value.hint
    write(tmp_path, MINIMAL + '[modes]\n"etc/key" = "0600"\n')
    assert load_definition(tmp_path).definition.modes == {"etc/key": "0600"}


def test_the_digest_covers_every_file_and_no_place(tmp_path: Path) -> None:
    first = shutil.copytree(ROOT / "images/demo", tmp_path / "a", symlinks=True)
    second = shutil.copytree(ROOT / "images/demo", tmp_path / "deeper/down/b", symlinks=True)
    digest = load_definition(first).digest
    assert load_definition(second).digest == digest
    seen = {digest}

    def changed() -> bool:
        now = load_definition(second).digest
        new = now not in seen
        seen.add(now)
        return new

    (second / "files/etc/new").write_text("x")
    assert changed()
    (second / "files/etc/new").chmod(0o755)
    assert changed()
    (second / "files/etc/new").unlink()
    (second / "files/etc/new").symlink_to("old")
    assert changed()
    with (second / "scripts/10-services").open("a") as script:
        script.write("true\n")
    assert changed()
    with (second / "image.toml").open("a") as toml:
        toml.write("# changed\n")
    assert changed()


def test_the_digest_covers_the_node_side(tmp_path: Path) -> None:
    node = shutil.copytree(ROOT / "images/node", tmp_path / "node")
    definition = write(tmp_path / "definition")
    before = load_definition(definition, node_files=node).digest
    # a wheel does not keep executable bits: they are none of the node side's content
    (node / "initramfs/init").chmod(0o644)
    assert load_definition(definition, node_files=node).digest == before
    with (node / "initramfs/boot").open("a") as script:
        script.write("\n")
    assert load_definition(definition, node_files=node).digest != before


@pytest.mark.parametrize("name", ["demo", "debian-base"])
def test_the_definitions_here_are_valid(name: str) -> None:
    loaded = load_definition(ROOT / "images" / name)
    assert loaded.definition.name == name


def test_only_the_demo_has_a_login_without_password() -> None:
    def mentions(name: str) -> list[str]:
        folder = ROOT / "images" / name
        found = (path for path in folder.rglob("*") if path.is_file())
        return [path.name for path in found if "autologin" in path.read_text()]

    assert mentions("demo") == ["autologin.conf"]
    assert mentions("debian-base") == []
    assert mentions("node") == []
