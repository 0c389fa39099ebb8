"""Amounts as people write and read them. Inside, money is whole wei."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext

from reelmesh.errors import UserError

WEI = {"wei": 1, "gwei": 10**9, "eth": 10**18}
_AMOUNT = re.compile(r"(\d{1,40}(?:\.\d{1,18})?)\s*(wei|gwei|eth)", re.IGNORECASE)
_SHOWN_DIGITS = 5


class InvalidAmount(UserError):
    """A sum of money that cannot be read."""


def parse_amount(text: str) -> int:
    """Return the wei in "0.002eth", "150 gwei" or "1000wei". Raises InvalidAmount.

    A unit is always asked for: between wei and ETH a guess can cost eighteen digits.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise InvalidAmount(f"{text!r} is not an amount", "write it with its unit, as 0.002eth")
    with localcontext(prec=80):
        wei = Decimal(found[1]) * WEI[found[2].lower()]
        if wei != wei.to_integral_value():
            raise InvalidAmount(f"{text!r} is less exact than one wei", "use fewer decimals")
    if not 0 < wei < 2**128:
        raise InvalidAmount(f"{text!r} is out of range", "it must be above zero and below 2^128")
    return int(wei)


def format_eth(wei: int | str, *, exact: bool = False) -> str:
    """Return an amount with its unit and with enough digits to be told from zero.

    Args:
        wei: The amount; a decimal string as it stands in JSON is taken too.
        exact: Every digit; otherwise about five that count.
    """
    amount = int(wei)
    if amount == 0:
        return "0 ETH"
    if abs(amount) < 10**9:
        return f"{amount} wei"
    with localcontext(prec=80):
        eth = Decimal(amount).scaleb(-18)
        if not exact:
            eth = round(eth, max(2, _SHOWN_DIGITS - 1 - eth.adjusted()))
        return f"{eth.normalize():f} ETH"
