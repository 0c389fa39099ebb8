"""A whole market on this machine: a chain, contracts, accounts, providers and a coordinator."""
