"""How much a denoiser's change of its input shrinks from step to step, measured with its weights.

The mean size of a step's residual (the last block's output less the first one's input) over the
step before's, one value for each of the loop's steps that it was measured on, first to last.
Published with MagCache (Ma et al., "MagCache: Fast Video Generation with Magnitude-Aware Cache",
2025, arXiv:2506.09045; figures of MagCache4Wan2.1, the prompted prediction's; the other's differ
by at most .01). They were measured with Wan's own solver and shift, not with Euler steps.

A model's table is a part of its name's meaning: it never changes, or two providers with the same
files would skip different steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_T2V = (
    1.0, 1.0124, 1.00166, 0.99791, 0.99682, 0.99634, 0.99567, 0.99416, 0.99578, 0.9957, 0.99511,
    0.99535, 0.99552, 0.99541, 0.9954, 0.99489, 0.99518, 0.99484, 0.99481, 0.99415, 0.99419,
    0.99396, 0.99388, 0.99349, 0.99309, 0.9927, 0.99228, 0.99171, 0.99137, 0.99068, 0.99005,
    0.98944, 0.98849, 0.98758, 0.98644, 0.98504, 0.9836, 0.98202, 0.97977, 0.97717, 0.9741,
    0.97003, 0.96538, 0.9593, 0.95086, 0.94013, 0.92402, 0.90241, 0.86821, 0.81838,
)  # fmt: skip
_T2V_14B = (
    1.0, 1.02504, 1.00025, 0.9985, 0.99779, 0.9966, 0.99482, 0.99467, 0.99664, 0.99434, 0.99533,
    0.99468, 0.99438, 0.99516, 0.99384, 0.99404, 0.99517, 0.99409, 0.99428, 0.99347, 0.99418,
    0.99271, 0.99313, 0.99215, 0.99218, 0.99216, 0.99163, 0.99138, 0.98982, 0.98996, 0.9887,
    0.98772, 0.98767, 0.98573, 0.98501, 0.9838, 0.98177, 0.98037, 0.97678, 0.97546, 0.97184,
    0.96711, 0.96349, 0.95629, 0.94926, 0.93964, 0.92511, 0.90693, 0.8796, 0.86111,
)  # fmt: skip
_I2V = (
    1.0, 0.98783, 0.97559, 0.98311, 0.98202, 0.9888, 0.98762, 0.98957, 0.99052, 0.99383, 0.98857,
    0.99065, 0.98845, 0.99057, 0.98957, 0.98601, 0.98823, 0.98756, 0.98808, 0.98721, 0.98571,
    0.98543, 0.98157, 0.98411, 0.97952, 0.98149, 0.9774, 0.97825, 0.97355, 0.97085, 0.97056,
    0.96588, 0.96113, 0.9567, 0.94961, 0.93973, 0.93217, 0.91878, 0.90955, 0.92617,
)  # fmt: skip

#: By a production model's name.
MAG_RATIOS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "wan-t2v": _T2V,
        "wan-t2v-14b": _T2V_14B,
        "wan-i2v": _I2V,
    }
)


def ratios_of(model: str, steps: int) -> tuple[float, ...]:
    """One ratio for each step of a loop of `steps`, 2 to 100: the nearest that was measured.

    Raises KeyError where none were measured with the model.
    """
    known = MAG_RATIOS[model]
    return tuple(known[round(i * (len(known) - 1) / (steps - 1))] for i in range(steps))
