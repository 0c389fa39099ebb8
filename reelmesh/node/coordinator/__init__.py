"""The coordinator: takes a buyer's job, drives its state machine, and holds the money's strings."""
