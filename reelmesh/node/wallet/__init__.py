"""Keys: node keys, signed envelopes, encrypted keystores and the reading of passwords."""
