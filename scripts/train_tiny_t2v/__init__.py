"""Data, training and probe of the embedded text-to-video model."""
