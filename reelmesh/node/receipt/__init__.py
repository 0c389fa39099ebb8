"""A job's public proof: built and signed by its coordinator, checked by anyone, offline."""
