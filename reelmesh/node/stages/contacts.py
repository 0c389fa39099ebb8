"""When a moving thing hits something: what free motion does not explain.

Left alone, a thing's acceleration is the same everywhere (it rests, glides, or falls) or grows with
its way from a centre (it swings, or goes round). So acceleration is fitted as affine in place, by
least trimmed squares; a contact is a change of velocity, within one or two frames, that the fit
does not explain and that turns the thing round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_LEAST_CHANGE = 0.03  # of velocity at a contact, in shorter sides a frame
_OF_SPEED = 0.55  # the change's least share of the speed around it
_OVER_NOISE = 5.0  # times the usual residual
_FREE = 0.6  # of the frames at least lie between contacts
_SEEN_EXACT = 0.002  # shorter sides: how well places are known
_STRETCH = 3  # frames that show how a thing moves freely
_FINE = 64  # instants looked at between two frames


@dataclass(frozen=True)
class Contact:
    """frame: when, in frames and parts of one. change: of velocity, [2] (x, y) a frame.

    before, after: velocities [2] on either side.
    """

    frame: float
    change: Points
    before: Points
    after: Points


def contacts(path: Points) -> list[Contact]:
    """The contacts along [T, 2] places that are all known, first to last."""
    count = len(path)
    if count < 4:
        return []
    velocity = np.diff(path, axis=0)
    kick = np.diff(velocity, axis=0) - _free(path)
    noise = float(np.median(np.linalg.norm(kick, axis=1)))
    found: list[tuple[float, Contact]] = []
    for first, last in [(k, k + w) for w in (0, 1) for k in range(len(kick) - w)]:
        contact = _contact(path, velocity, kick, first, last, noise)
        if contact is not None:
            # Two frames hold one hit between them: taken where they say more than one does.
            size = float(np.linalg.norm(contact.change)) * (1.0 if first == last else 0.85)
            found.append((size, contact))
    kept: list[Contact] = []
    for _, contact in sorted(found, key=lambda pair: -pair[0]):
        if all(abs(contact.frame - other.frame) >= 1.5 for other in kept):
            kept.append(contact)
    return sorted(kept, key=lambda contact: contact.frame)


def _free(path: Points) -> Points:
    """[T - 2, 2] accelerations that free motion explains at the inner frames.

    Least trimmed squares: tried from every short stretch, as one of them is free of contacts. Fast
    bounces, seen at few instants, can look like swinging: of two laws that explain as much, the one
    that draws less to a centre is taken.
    """
    inner, change = path[1:-1], np.diff(path, 2, axis=0)
    rows = np.zeros((len(inner), 2, 3))
    rows[:, 0, 0], rows[:, 1, 1] = 1.0, 1.0
    rows[:, :, 2] = -inner
    kept = max(2, round(_FREE * len(inner)))
    laws: list[tuple[float, float, Points]] = []
    for start in range(0, max(1, len(inner) - _STRETCH + 1), 1 + len(inner) // 100):
        chosen = np.arange(start, min(start + _STRETCH, len(inner)))
        for _ in range(6):
            law = _fitted(rows[chosen], change[chosen])
            off = ((rows @ law - change) ** 2).sum(axis=1)
            chosen = np.sort(np.argsort(off, kind="stable")[:kept])
        laws.append((float(off[chosen].sum()), float(law[2]), law))
    enough = 1.5 * min(cost for cost, _, _ in laws) + kept * _SEEN_EXACT**2
    _, _, law = min((one for one in laws if one[0] <= enough), key=lambda one: (one[1], one[0]))
    explained: Points = rows @ law
    return explained


def _fitted(rows: Points, change: Points) -> Points:
    """Constant x and y, and how strongly it is drawn back to a centre (never pushed away)."""
    flat, wanted = rows.reshape(-1, 3), change.reshape(-1)
    # The small diagonal keeps a still thing's fit at nothing.
    fit = np.linalg.solve(flat.T @ flat + 1e-9 * np.eye(3), flat.T @ wanted).astype(np.float64)
    return fit if fit[2] >= 0 else np.append(change.mean(axis=0), 0.0)


def _contact(
    path: Points, velocity: Points, kick: Points, first: int, last: int, noise: float
) -> Contact | None:
    change = kick[first : last + 1].sum(axis=0)
    size = float(np.linalg.norm(change))
    before, after = velocity[first], velocity[last + 1]
    speed = max(float(np.linalg.norm(before)), float(np.linalg.norm(after)))
    if size < max(_LEAST_CHANGE, _OF_SPEED * speed, _OVER_NOISE * noise):
        return None
    away = change / size
    if float(before @ away) > -0.2 * size:
        return None
    rests = float(np.linalg.norm(after)) < 0.25 * float(np.linalg.norm(before))
    if float(after @ away) < 0.2 * size and not (rests and away[1] < -0.7):
        return None  # it only slows down in mid-air
    depth = path @ away
    floor = float(depth[last + 2]) - 0.02 * float(before @ away) if rests else -np.inf
    frame = _deepest(depth, floor, first + 1, last + 1)
    return Contact(frame, change, before, after)


def _deepest(depth: Points, floor: float, first: int, last: int) -> float:
    """When the smooth curve that viewers see is first at its lowest, or at the floor it rests on.

    first, last: the frames around which to look.
    """
    low, high = max(0, first - 1), min(len(depth) - 1, last + 1)
    times = np.linspace(low, high, (high - low) * _FINE + 1)
    return float(times[np.argmin(np.maximum(along(depth, times), floor))])


def along(values: Points, times: Points) -> Points:
    """A Catmull-Rom curve through values [T] at frames `times`; as `track.Track` has it."""
    last = len(values) - 1
    wide = np.concatenate([[2 * values[0] - values[1]], values, [2 * values[-1] - values[-2]]])
    k = np.clip(times.astype(np.int64), 0, last - 1)
    t = times - k
    p0, p1, p2, p3 = wide[k], wide[k + 1], wide[k + 2], wide[k + 3]
    m1, m2 = (p2 - p0) / 2, (p3 - p1) / 2
    a, b = m1 + m2 - 2 * (p2 - p1), 3 * (p2 - p1) - 2 * m1 - m2
    curve: Points = p1 + t * (m1 + t * (b + t * a))
    return curve
