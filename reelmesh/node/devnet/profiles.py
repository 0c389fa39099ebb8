"""The providers of a local market: unlike each other, so that there is something to compete in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """How one provider of the devnet differs.

    Attributes:
        name: Its account and folder.
        threads: CPU threads that its stages use.
        wei_per_cpu_second: Least pay for a second of one thread.
        margin: What it adds, as a fraction.
        nice: How far it steps back for other programs, 0..19.
        note: What a person is told about it.
    """

    name: str
    threads: int
    wei_per_cpu_second: int
    margin: float
    nice: int
    note: str


PROVIDERS = (
    Profile("swift", 2, 7 * 10**12, 0.20, 0, "two threads, asks the most"),
    Profile("steady", 1, 9 * 10**12, 0.10, 0, "one thread, asks a fair price"),
    Profile("thrifty", 1, 8 * 10**12, 0.0, 5, "one thread that steps back for others, asks little"),
)
