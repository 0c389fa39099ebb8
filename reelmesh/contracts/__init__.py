"""The on-chain half as Python sees it: signed types, trees, and one typed client per contract."""
