"""A saved plan: the changes, the revision they were planned against, and what they come to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bootserve.errors import InvalidInput

__all__ = ["PlanFile", "dumped", "read_plan", "read_text", "write_text"]


class PlanFile(BaseModel):
    """A plan. ``file`` is what it was made from; ``lines`` and ``sentences`` say it in words."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    kind: Literal["bootserve-plan"] = "bootserve-plan"
    format: Literal[1] = 1
    base: int = Field(ge=0)
    file: str = ""
    changes: dict[str, Any]
    effects: list[dict[str, Any]] = []
    lines: list[str] = []
    sentences: list[str] = []
    warnings: list[str] = []

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(self.changes.values())


def read_plan(path: Path) -> PlanFile:
    """Return the plan saved in ``path``; raises InvalidInput when it is none."""
    try:
        return PlanFile.model_validate_json(read_text(path))
    except ValidationError:
        raise InvalidInput(
            f"{path} is no plan",
            hint="Save one with 'bootserve plan -f site.yaml -o plan.json'; a site file is applied"
            " with -f.",
        ) from None


def read_text(path: Path) -> str:
    """Return the text of a file of the user's; ``-`` is stdin. Raises InvalidInput."""
    try:
        data = Path("/dev/stdin").read_bytes() if str(path) == "-" else path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidInput(f"{path}:{line}: this is no UTF-8 text") from None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def dumped(plan: PlanFile) -> str:
    """Return ``plan`` as JSON, on one line: indenting 10,000 nodes takes half a second."""
    return json.dumps(plan.model_dump(mode="json")) + "\n"
