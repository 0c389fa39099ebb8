"""Sound made by arithmetic: struck things, moving air, surroundings, and the mix of them.

Signals are float64 at 48 kHz, [samples] or [2, samples]. Everything random comes from a seed, and
nothing depends on the number of threads.
"""
