"""Everything that runs: provider, coordinator, p2p, rpc, stages, storage, wallet, command line."""
