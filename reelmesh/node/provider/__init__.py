"""A provider: it hears of calls, bids, works, delivers, and sees that it is paid."""
