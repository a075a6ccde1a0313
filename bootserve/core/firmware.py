"""What a firmware will do with the offers on a segment, in plain words: pure, for ``probe``."""

from __future__ import annotations

from collections.abc import Sequence

from bootserve.core.judge_http import judge_http
from bootserve.core.judge_ipxe import judge_ipxe, judge_ipxe_ack
from bootserve.core.judge_pxe import judge_pxe, judge_pxe_ack
from bootserve.core.judgement import Choice, Firmware, Judgement, Step
from bootserve.core.offer_facts import Offer

__all__ = ["Choice", "Firmware", "Judgement", "Step", "judge", "judge_ack"]


def judge(firmware: Firmware, offers: Sequence[Offer]) -> Judgement:
    """Return what ``firmware`` makes of ``offers``, which are in the order of their arrival."""
    match firmware:
        case Firmware.IPXE:
            return judge_ipxe(offers)
        case Firmware.HTTP:
            return judge_http(offers)
        case _:
            return judge_pxe(firmware, offers)


def judge_ack(firmware: Firmware, ack: Offer) -> Judgement:
    """Return what ``firmware`` makes of the answer to its REQUEST on port 4011."""
    return judge_ipxe_ack(ack) if firmware is Firmware.IPXE else judge_pxe_ack(firmware, ack)
