"""What a provider's bid says, as the auction reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reelmesh.scheduler.ids import NodeAddress, Wei, WeiField

MAX_SLOTS = 64


class StageOffer(BaseModel):
    """One stage in a bid.

    Attributes:
        price_per_unit: what the provider asks, in wei.
        seconds_per_unit: its measured speed.
        memory_mb: memory that a run takes on its device; the larger of this and the plan's
            estimate is what must fit.
        resident: the stage's model is loaded now, so that nothing is spent on loading it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    price_per_unit: WeiField
    seconds_per_unit: Annotated[float, Field(gt=0, le=1e6)]
    memory_mb: Annotated[int, Field(ge=0, le=2**31)] = 0
    resident: bool = False


class ProviderOffer(BaseModel):
    """A provider's whole bid: its stages, and what it has to run them with.

    Attributes:
        slots: subtasks that it runs at once.
        memory_mb: device memory for all of them together, in MiB.
        queue_s: seconds of work that it has before it can start ours.
        uplink_mbps: its line, in 10**6 bits a second, taken for both directions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    provider: NodeAddress
    stages: Mapping[str, StageOffer]
    slots: Annotated[int, Field(ge=0, le=MAX_SLOTS)] = 1
    memory_mb: Annotated[int, Field(ge=0, le=2**31)]
    queue_s: Annotated[float, Field(ge=0, le=1e7)] = 0.0
    uplink_mbps: Annotated[float, Field(gt=0, le=1e7)] = 100.0


def ask_wei(price_per_unit: int, units: float) -> Wei:
    """What a price per unit comes to for some units, rounded up to whole wei.

    The product is an IEEE double, so that the bidder and the auction get the same figure.
    """
    return Wei(math.ceil(float(price_per_unit) * units))
