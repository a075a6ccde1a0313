"""The matrix in the code and the one in the docs are the same."""

from __future__ import annotations

from pathlib import Path

from tests.vm.matrix import CELLS, table

ROOT = Path(__file__).resolve().parents[2]


def test_the_docs_show_the_matrix_that_is_tested() -> None:
    text = (ROOT / "docs/firmware.md").read_text()
    shown = text.split("<!-- matrix -->\n")[1].split("<!-- end of matrix -->")[0]
    assert shown.strip() == table().strip()


def test_every_cell_has_a_name_of_its_own() -> None:
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_every_firmware_that_boots_directly_boots_through_a_relay() -> None:
    def kinds(path: str) -> set[tuple[str, str, str]]:
        return {(c.firmware, c.nic, c.shape) for c in CELLS if c.path.startswith(path)}

    assert kinds("direct") == kinds("relay")
