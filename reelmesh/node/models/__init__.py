"""Production models on this machine: checked, kept and named by their files' hashes."""
