"""What providers advertise now, for whoever wants to know a price before posting a job."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict

from reelmesh.node.p2p.books import AdBook
from reelmesh.proto import market_pb2
from reelmesh.scheduler.models import offering
from reelmesh.scheduler.offers import ProviderOffer, StageOffer
from reelmesh.scheduler.stages import CATALOGUE

_MOST = 512


class LiveOffer(BaseModel):
    """A provider's newest capacity ad: its floors and speeds, of stages that this version knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_class: str
    offer: ProviderOffer


def live_offers(ads: AdBook) -> list[dict[str, Any]]:
    """The live ads of providers that accept work, at most `_MOST`, each a `LiveOffer` as JSON.

    An ad that makes no sense is left out.
    """
    found = (_offer(provider, ad) for provider, ad in ads.items() if ad.accepting)
    offers = (offer.model_dump(mode="json") for offer in found if offer is not None)
    return list(islice(offers, _MOST))


def _offer(provider: str, ad: market_pb2.CapacityAd) -> LiveOffer | None:
    try:
        stages = {
            offering(rate.stage, rate.model): StageOffer.model_validate(
                {
                    "price_per_unit": int(rate.price_per_unit),
                    "seconds_per_unit": rate.seconds_per_unit,
                    "memory_mb": rate.memory_mb,
                    "resident": rate.resident,
                }
            )
            for rate in ad.rates
            if rate.stage in CATALOGUE and rate.stage_version == CATALOGUE[rate.stage].version
        }
        offer = ProviderOffer.model_validate(
            {
                "provider": provider,
                "stages": stages,
                "slots": ad.slots,
                "memory_mb": ad.memory_mb,
            }
        )
    except ValueError:
        return None
    return LiveOffer(device_class=ad.device_class[:64], offer=offer)
