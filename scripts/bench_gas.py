"""Gas of a job's whole on-chain life, by real transactions on a local chain.

    python scripts/bench_gas.py     # prints one JSON object

A job is three transactions: post, award, settle. Steady state: the buyer has credit and a lane that
was used before, and each provider already has some credit. First-time costs are printed beside it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
from dataclasses import dataclass
from typing import Any

from reelmesh.contracts import chain, eip712, merkle
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender
from reelmesh.contracts.deploy import deploy
from reelmesh.contracts.eip712 import Attestation, Consent, Domain
from reelmesh.contracts.keys import LocalKey
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.terms import Payment

SUBTASKS = 64
PROVIDERS = 4
MORE_PROVIDERS = 12
ROUNDS = 8
TARGET = 160_000
BUDGET_WEI = 5 * 10**16


@dataclass(frozen=True)
class JobGas:
    """Gas of one job's three transactions."""

    post: int
    award: int
    settle: int

    @property
    def total(self) -> int:
        return self.post + self.award + self.settle


class Bench:
    """One market, one buyer that coordinates its own jobs, and providers with keys of their own."""

    def __init__(self, market: MarketClient, domain: Domain, providers: list[LocalKey]) -> None:
        self.market = market
        self.domain = domain
        self.providers = providers

    async def job(self, count: int) -> JobGas:
        """A job of SUBTASKS subtasks over `count` providers, all of whom consent to their pay."""
        market = self.market
        now = int((await market.w3.eth.get_block("latest"))["timestamp"])
        budget = BUDGET_WEI + secrets.randbelow(BUDGET_WEI)
        terms = (budget, now + 1800, 3600, market.sender.address)
        posted = await market.post(secrets.token_bytes(32), *terms)
        nodes = self.providers[:count]
        awards = [(nodes[i % count].address, _part(budget)) for i in range(SUBTASKS)]
        leaves = [
            (node.address, sum(price for who, price in awards if who == node.address))
            for node in nodes
        ]
        award = await market.award(posted.terms, *merkle.sum_root(leaves))
        payments = [
            self._payment(posted.job_id, node, cap)
            for node, (_, cap) in zip(nodes, leaves, strict=True)
        ]
        root = merkle.root([self._attested(posted.job_id, i) for i in range(SUBTASKS)])
        settle = await market.settle(posted.terms, payments, root)
        return JobGas(posted.tx.gas_used, award.gas_used, settle.gas_used)

    async def steady(self, count: int) -> list[JobGas]:
        """Jobs after a first one that has paid what is paid once."""
        await self.job(count)
        return [await self.job(count) for _ in range(ROUNDS)]

    def _payment(self, job_id: bytes, node: LocalKey, cap: int) -> Payment:
        total = cap - secrets.randbelow(cap // 8)
        consent = eip712.sign(self.domain, Consent(job_id, total), node)
        return Payment(node.address, cap, total, consent)

    def _attested(self, job_id: bytes, i: int) -> bytes:
        roots = [secrets.token_bytes(32) for _ in range(4)]
        times = (1_800_000_000_000, 1_800_000_004_000)
        return eip712.digest(
            self.domain,
            Attestation(job_id, roots[0], 1, *roots[1:], f"stage-{i}", 1, bytes(32), "cpu", *times),
        )


def _part(budget: int) -> int:
    share = budget // (SUBTASKS + 1)
    return share - secrets.randbelow(share // 4)


async def measure() -> dict[str, Any]:
    """All figures."""
    async with await Anvil().start() as anvil:
        w3 = await chain.connect(anvil.rpc_url)
        try:
            sender = Sender(w3, await anvil.funded_key())
            made = await deploy(sender, min_stake=1, unbonding_delay=1)
            market = MarketClient(w3, made.market, sender)
            deposit = await market.deposit(10**19)
            domain = await market.domain()
            keys = [LocalKey.generate() for _ in range(MORE_PROVIDERS)]
            bench = Bench(market, domain, keys)
            first = await bench.job(PROVIDERS)
            few = await bench.steady(PROVIDERS)
            many = await bench.steady(MORE_PROVIDERS)
            transfers = [
                (await sender.send("a transfer", key.address, b"", 1)).gas_used
                for key in keys[:PROVIDERS]
            ]
        finally:
            await chain.disconnect(w3)
    return report(first, few, many, sum(transfers), deposit.gas_used)


def report(
    first: JobGas, few: list[JobGas], many: list[JobGas], transfers: int, deposit: int
) -> dict[str, Any]:
    """The figures as scripts/bench.py wants them."""
    middle = statistics.median_low(job.total for job in few)
    typical = next(job for job in few if job.total == middle)
    worst = max(job.total for job in few)
    spread = statistics.median_low(job.total for job in many) - middle
    extra = round(spread / (MORE_PROVIDERS - PROVIDERS))
    split = f"post {typical.post:,}, award {typical.award:,}, settle {typical.settle:,}"
    return {
        "gas_job": {
            "value": middle,
            "unit": "gas",
            "baseline": transfers,
            "ratio": round(middle / transfers, 2),
            "target": TARGET,
            "how": (
                f"post + award + settle of a job of {SUBTASKS} subtasks and {PROVIDERS} "
                f"providers, their consents in the settlement; median of {ROUNDS} jobs ({split}; "
                f"the dearest {worst:,}), buyer's credit and lane and providers' credits used "
                f"before. Baseline: {PROVIDERS} plain coin transfers, with no escrow, proof or "
                "refund. The number of subtasks does not matter. A buyer's very first job, with "
                f"{PROVIDERS} providers that never earned before, takes {first.total:,} (17,100 "
                f"more for each fresh lane and provider), and its first deposit {deposit:,}"
            ),
        },
        "gas_per_extra_provider": {
            "value": extra,
            "unit": "gas",
            "baseline": transfers // PROVIDERS,
            "ratio": round(extra / (transfers // PROVIDERS), 2),
            "target": None,
            "how": (
                f"the same with {MORE_PROVIDERS} providers less that with {PROVIDERS}, for each of "
                f"the {MORE_PROVIDERS - PROVIDERS} more. Baseline: a plain coin transfer"
            ),
        },
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure()), indent=2))
