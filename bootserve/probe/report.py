"""What a probe was asked, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from bootserve.core.firmware import Choice, Firmware
from bootserve.core.offer_facts import Offer
from bootserve.model.finding import Finding
from bootserve.model.names import Mac

__all__ = ["ProbeReport", "Question", "Stage"]


@dataclass(frozen=True, slots=True)
class Question:
    """What to probe. ``seconds`` is how long offers are waited for.

    ``full`` reads the whole root too, where a probe otherwise reads its beginning.
    """

    interface: str
    mac: Mac
    firmware: Firmware
    seconds: float = 4.0
    full: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One DISCOVER and what came of it: ``title`` says who asked.

    ``acks`` are the answers from port 4011, ``target`` what the client would load in the end.
    """

    title: str
    firmware: Firmware
    offers: tuple[Offer, ...]
    acks: tuple[Offer, ...]
    target: Choice | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All that was found. ``address`` is ours on the interface; empty when there is none."""

    question: Question
    address: str
    stages: tuple[Stage, ...]
    findings: tuple[Finding, ...]
