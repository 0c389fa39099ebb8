"""HDR (PQ or HLG, BT.2020) and wide-gamut pictures → SDR, BT.709.

PQ and HLG as in ITU-R BT.2100; the roll-off of highlights is the EETF of ITU-R BT.2390-11,
5.4.1, applied to the largest of R, G and B so that hues stay; diffuse white is 203 cd/m²
(BT.2408).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]  # [H, W] or [H, W, 3]

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
BT2020, P3 = 9, 12  # colour primaries of ITU-T H.273
WHITE_NITS = 203.0
USUAL_PEAK_NITS = 1000.0

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# Linear RGB → linear BT.709 RGB.
_TO_709 = {
    BT2020: np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
        np.float32,
    ),
    P3: np.array(
        [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]],
        np.float32,
    ),
}


def is_hdr(transfer: int) -> bool:
    """True for PQ and HLG."""
    return transfer in (PQ, HLG)


def to_sdr(picture: Plane, transfer: int, primaries: int, peak_nits: float) -> Plane:
    """Non-linear RGB [H, W, 3] in 0..1 → BT.709 RGB in 0..1, as it is shown on an SDR screen.

    Args:
        transfer, primaries: by the numbers of ITU-T H.273; anything but PQ and HLG is SDR.
        peak_nits: the brightest that the pictures are made for; only for PQ.
    """
    if not is_hdr(transfer) and primaries not in _TO_709:
        return picture
    if transfer == PQ:
        light = pq_to_nits(picture)
    elif transfer == HLG:
        light, peak_nits = _hlg_to_nits(picture), USUAL_PEAK_NITS
    else:
        light = np.power(np.clip(picture, 0, 1), np.float32(2.4)) * np.float32(WHITE_NITS)
    if primaries in _TO_709:
        light = np.maximum(light @ _TO_709[primaries].T, 0)
    if is_hdr(transfer):
        light = _roll_off(light, max(peak_nits, WHITE_NITS))
    shown = np.clip(light / np.float32(WHITE_NITS), 0, 1)
    out: Plane = np.power(shown, np.float32(1 / 2.4))
    return out


def pq_to_nits(coded: Plane) -> Plane:
    """0..1 → 0..10000 cd/m²."""
    power = np.power(np.clip(coded, 0, 1), np.float32(1 / _M2))
    ratio = np.maximum(power - np.float32(_C1), 0) / (np.float32(_C2) - np.float32(_C3) * power)
    out: Plane = np.float32(10000) * np.power(ratio, np.float32(1 / _M1))
    return out


def nits_to_pq(nits: Plane) -> Plane:
    """0..10000 cd/m² → 0..1."""
    power = np.power(np.clip(nits / np.float32(10000), 0, 1), np.float32(_M1))
    ratio = (np.float32(_C1) + np.float32(_C2) * power) / (1 + np.float32(_C3) * power)
    out: Plane = np.power(ratio, np.float32(_M2))
    return out


def _hlg_to_nits(coded: Plane) -> Plane:
    """Scene light by the inverse OETF, then the OOTF of a display of 1000 cd/m² (gamma 1.2)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    coded = np.clip(coded, 0, 1)
    low = coded**2 / 3
    high = (np.exp((coded - np.float32(c)) / np.float32(a)) + np.float32(b)) / 12
    scene = np.where(coded <= 0.5, low, high)
    luma = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    gain = np.power(np.maximum(luma, 1e-6), np.float32(0.2))
    out: Plane = (USUAL_PEAK_NITS * scene * gain[..., None]).astype(np.float32)
    return out


def _roll_off(light: Plane, peak_nits: float) -> Plane:
    """Brings 0..peak into 0..WHITE_NITS: dark and middle tones stay, highlights bend."""
    top = float(nits_to_pq(np.array([peak_nits], np.float32))[0])
    most = float(nits_to_pq(np.array([WHITE_NITS], np.float32))[0]) / top
    knee = 1.5 * most - 0.5
    brightest = np.maximum(light.max(axis=-1), np.float32(1e-4))
    place = np.minimum(nits_to_pq(brightest) / np.float32(top), 1)
    t = (place - knee) / max(1 - knee, 1e-6)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    target = pq_to_nits((np.where(place < knee, place, bent) * top).astype(np.float32))
    out: Plane = light * (target / brightest)[..., None]
    return out
