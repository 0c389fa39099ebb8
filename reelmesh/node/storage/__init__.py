"""What a node keeps: artifacts named by their hash, and its state in a database."""
