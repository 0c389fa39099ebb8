"""The gRPC service over which work is leased, streamed, paid for and attested."""
