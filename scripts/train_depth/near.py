"""Scenes with a figure close to the camera, as films have them: before ground, walls and things.

Two cues that `Scene` lacks: a body of several parts that reaches beyond the picture's border,
upright though its foot is not seen, and a lens that is sharp at one distance alone. Surfaces have
detail of many sizes at once, like fur, cloth, leaves and stone.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from scripts.train_depth.scenes import Array, Paint, Scene, Thing, coloured


class NearScene(Scene):
    """As `Scene`; a figure of 2 to 10 parts at 0.8 to 4 m, and what else is behind it."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = self.rng
        self.paints = [p if rng.random() < 0.3 else self._rough(1.2) for p in self.paints]
        distance = float(np.exp(rng.uniform(np.log(0.8), np.log(4.0))))
        behind = [t for t in self.things if t.centre[2] > 1.5 * distance + 1]
        behind = [
            replace(t, paint=self._rough(1 / float(t.half.mean()))) if rng.random() < 0.5 else t
            for t in behind
        ]
        self.things = behind + self._figure(distance)
        if rng.random() < 0.35:
            self.things += self._figure(distance * float(rng.uniform(1.2, 2.5)))
        if rng.random() < 0.5:
            self.wall = distance * float(rng.uniform(1.4, 4))
        self.has_side = self.has_side and abs(self.side) > distance
        self.focus = distance * float(rng.uniform(0.9, 1.2))
        self.softness = float(rng.uniform(1.0, 6.0)) if rng.random() < 0.6 else 0.0

    def _figure(self, distance: float) -> list[Thing]:
        rng = self.rng
        tall = float(rng.uniform(0.4, 1.3)) * distance / self.focal
        x = float(rng.uniform(-0.45, 0.45)) * distance / self.focal
        head, wide = float(rng.uniform(0.1, 0.24)), float(rng.uniform(0.14, 0.34))
        trunk = float(rng.uniform(0.2, 0.42))
        deep = wide * float(rng.uniform(0.6, 1.0))
        if self.ground and rng.random() < 0.5:  # it stands, and its foot may be seen
            top = tall * (1.7 * head + 2 * trunk) - self.eye
        else:
            top = (float(rng.uniform(-0.1, 0.5)) / self.focal - math.sin(self.pitch)) * distance
        speed = rng.normal(0, 0.15, 3) * np.array([1, 0, 0.3])
        paints = [self._rough(1 / tall), self._paint(2 / tall), self._rough(2 / tall)]
        if rng.random() < 0.5:
            paints = paints[:1] * 3

        def part(centre: tuple[float, float, float], half: tuple[float, float, float]) -> Thing:
            return Thing(
                0 if rng.random() < 0.8 else int(rng.integers(1, 3)),
                np.array([x, top, distance]) + tall * np.array(centre),
                tall * np.array(half),
                float(rng.uniform(0, 3.2)),
                speed,
                paints[int(rng.integers(3))],
            )

        parts = [
            part((0, -head, 0), (head * rng.uniform(0.7, 1.1), head, head)),
            part((rng.normal(0, 0.03), -1.7 * head - trunk, 0), (wide, trunk, deep)),
        ]
        if rng.random() < 0.3:
            ear = (head * 0.2, head * rng.uniform(0.4, 1.0), head * 0.2)
            parts += [part((side * head * 0.45, ear[1] * 0.7, 0), ear) for side in (-1, 1)]
        for _ in range(int(rng.integers(0, 7))):  # arms, legs, what it carries
            thin = float(rng.uniform(0.03, 0.1))
            centre = (rng.normal(0, 1.1 * wide), -rng.uniform(-0.2, 1), rng.normal(0, 0.7 * deep))
            parts.append(part(centre, (thin * rng.uniform(0.7, 2), rng.uniform(0.08, 0.3), thin)))
        return parts

    def _rough(self, scale: float) -> Paint:
        """A surface with detail of every size, the smaller the fainter."""
        rng = self.rng
        first = coloured(rng)
        second = np.clip(first + rng.normal(0, rng.choice([0.1, 0.25, 0.45]), 3), 0.02, 1)
        count = 14
        fine = np.exp(rng.uniform(0, np.log(40), count))
        ways = rng.normal(0, 1, (count, 3))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        waves = np.empty((count, 4))
        waves[:, :3] = ways * (2.0 * scale * fine)[:, None]
        waves[:, 3] = rng.uniform(0, 2 * math.pi, count)
        loud = fine ** -float(rng.uniform(0.3, 0.9))
        return Paint(
            first.astype(np.float32),
            second.astype(np.float32),
            waves.astype(np.float32),
            0.0,
            bool(rng.random() < 0.15),
            (loud * count / np.linalg.norm(loud)).astype(np.float32),
        )

    def _photograph(self, colour: Array, depth: Array, time: float) -> Array:
        if self.softness:
            colour = self._out_of_focus(colour, depth)
        return super()._photograph(colour, depth, time)

    def _out_of_focus(self, colour: Array, depth: Array) -> Array:
        """Blurred by |1/z - 1/focus|; what is sharp does not bleed into what is behind it."""
        blur = self.softness * np.abs(1 / depth - 1 / self.focus) * self.focus
        out = colour
        for sigma in (0.5, 1.0, 2.0, 4.0):
            soft = (blur > 0.7 * sigma).astype(np.float32)
            if not soft.any():
                break
            weight = cv2.GaussianBlur(soft, (0, 0), sigma)
            mixed = cv2.GaussianBlur(colour * soft[..., None], (0, 0), sigma)
            out = np.where(
                soft[..., None] > 0, mixed / np.maximum(weight, 1e-3)[..., None], out
            ).astype(np.float32)
        return out
