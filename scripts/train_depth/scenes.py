"""Procedural scenes with exact depth: rays against planes, ellipsoids, boxes, cylinders, cut-outs.

    scene = Scene(seed)
    picture, depth = scene.render(128, 128, time=0.0)   # float32 [H, W, 3] in 0..1, [H, W] > 0

x to the right, y up, z into the picture; depth is z, not the ray's length. The sky is at `FAR`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FAR = 60.0
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Thing:
    """One object. `kind`: 0 ellipsoid, 1 box, 2 upright cylinder, 3 flat cut-out."""

    kind: int
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    turn: float
    speed: NDArray[np.float64]
    paint: Paint


@dataclass(frozen=True)
class Paint:
    """Two colours mixed by waves in space: stripes, blotches, grain or nothing."""

    first: Array
    second: Array
    waves: Array  # [n, 4]: direction and phase
    grain: float
    hard: bool
    loud: Array | None = None  # [n]: how strong each wave is; all alike without it

    def at(self, points: Array) -> Array:
        """Colours [..., 3] of points [..., 3] in the object's own space."""
        sums = np.zeros(points.shape[:-1], np.float32)
        for number, wave in enumerate(self.waves):
            loud = 1 if self.loud is None else self.loud[number]
            sums += loud * np.sin(points @ wave[:3] + wave[3])
        mix = sums / max(len(self.waves), 1)
        mix = np.where(mix > 0, 1.0, 0.0) if self.hard else 0.5 + 0.5 * mix
        return self.first + (self.second - self.first) * mix[..., None].astype(np.float32)


class Scene:
    """Everything of one scene, drawn from a seed; objects move in straight lines with time."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.focal = float(rng.uniform(0.8, 1.7))  # of the picture's longer side
        self.eye = float(rng.uniform(0.35, 1.8))
        self.pitch = float(rng.uniform(-0.22, 0.12))
        self.ground = bool(rng.random() < 0.88)
        self.wall = float(rng.uniform(5, 14)) if rng.random() < 0.45 else 0.0
        self.wall_turn = float(rng.uniform(-0.5, 0.5))
        self.side = float(rng.uniform(1.5, 4)) * (1 if rng.random() < 0.5 else -1)
        self.has_side = bool(rng.random() < 0.2)
        self.fog = float(rng.uniform(0.02, 0.12)) if rng.random() < 0.5 else 0.0
        self.light = _unit(rng.normal(0, 1, 3) + np.array([0, 1.6, -0.6]))
        self.sky = np.stack([self._sky_colour(), self._sky_colour()])
        self.paints = [self._paint(scale=s) for s in (1.2, 1.2, 1.2)]
        self.things = [self._thing() for _ in range(int(rng.integers(2, 11)))]
        self.clouds = self._paint(scale=5.0)
        self.exposure = float(rng.uniform(0.75, 1.25))
        self.blur = float(rng.uniform(0, 0.9))
        self.noise = float(rng.uniform(0, 0.025))

    def _sky_colour(self) -> Array:
        rng = self.rng
        tone = rng.uniform(0.45, 1.0)
        tint = np.array([0.75, 0.87, 1.0]) if rng.random() < 0.7 else rng.uniform(0.5, 1, 3)
        return (tone * tint).astype(np.float32)

    def _paint(self, scale: float) -> Paint:
        rng = self.rng
        first = coloured(rng)
        second = np.clip(first + rng.normal(0, rng.choice([0.03, 0.12, 0.3]), 3), 0.02, 1)
        count = int(rng.integers(0, 6))
        waves = rng.normal(0, scale * rng.choice([1.5, 4.0, 10.0]), (count, 4))
        waves[:, 3] = rng.uniform(0, 6.3, count)
        return Paint(
            first.astype(np.float32),
            second.astype(np.float32),
            waves.astype(np.float32),
            float(rng.choice([0, 0.03, 0.09])),
            bool(rng.random() < 0.3),
        )

    def _thing(self) -> Thing:
        rng = self.rng
        z = float(np.exp(rng.uniform(np.log(2.0), np.log(11))))
        x = float(rng.uniform(-0.75, 0.75)) * z / self.focal
        size = float(rng.uniform(0.1, 0.42)) * min(z, 5) ** 0.7
        half = size * np.exp(rng.normal(0, 0.35, 3))
        kind = int(rng.choice([0, 1, 2, 3], p=[0.35, 0.25, 0.2, 0.2]))
        if kind == 2:
            half[1] *= rng.uniform(1.5, 5)
            half[2] = half[0] = half[0] * 0.5
        on_ground = self.ground and rng.random() < 0.8
        y = -self.eye + half[1] * 0.97 if on_ground else rng.uniform(-0.5, 0.6) * z / self.focal
        speed = (
            rng.normal(0, 0.25, 3) * np.array([1, 0, 0.4]) if rng.random() < 0.6 else np.zeros(3)
        )
        return Thing(
            kind,
            np.array([x, y, z]),
            half,
            float(rng.uniform(0, 3.2)),
            speed,
            self._paint(scale=1.0 / size),
        )

    def render(self, height: int, width: int, time: float = 0.0) -> tuple[Array, Array]:
        """The picture, float32 [H, W, 3] in 0..1, and z, float32 [H, W] in 0.05..FAR."""
        longer = max(height, width)
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        rays = np.empty((height, width, 3), np.float32)
        rays[..., 0] = (xs + 0.5 - width / 2) / longer / self.focal
        rays[..., 1] = -(ys + 0.5 - height / 2) / longer / self.focal
        rays[..., 2] = 1
        tilt = np.array(
            [
                [1, 0, 0],
                [0, np.cos(self.pitch), -np.sin(self.pitch)],
                [0, np.sin(self.pitch), np.cos(self.pitch)],
            ],
            np.float32,
        )
        world = rays @ tilt.T
        depth, colour = self._background(world)
        for thing in self.things:
            self._draw(thing, world, depth, colour, time)
        if self.fog:
            keep = np.exp(-self.fog * depth)[..., None]
            colour = colour * keep + self.sky[1] * (1 - keep)
        depth = np.clip(depth, 0.05, FAR)
        return self._photograph(colour, depth, time), depth

    def _background(self, world: Array) -> tuple[Array, Array]:
        depth = np.full(world.shape[:2], FAR, np.float32)
        up = np.clip(world[..., 1] / np.linalg.norm(world, axis=2), 0, 1)[..., None] ** 0.6
        colour = self.sky[1] * (1 - up) + self.sky[0] * up
        if self.clouds.waves.size:
            flat = world / np.maximum(np.abs(world[..., 1:2]), 0.08)
            colour = colour * 0.85 + 0.15 * self.clouds.at(flat * 0.2)
        planes = []
        if self.ground:
            planes.append((np.array([0, 1, 0], np.float32), -self.eye, 0))
        if self.wall:
            normal = np.array([np.sin(self.wall_turn), 0, -np.cos(self.wall_turn)], np.float32)
            planes.append((normal, -self.wall * np.cos(self.wall_turn), 1))
        if self.has_side:
            normal = np.array([-np.sign(self.side), 0, 0], np.float32)
            planes.append((normal, -abs(self.side), 2))
        for normal, offset, number in planes:
            with np.errstate(divide="ignore", invalid="ignore"):
                t = offset / (world @ normal)
            hit = (t > 0.05) & (t < depth)
            points = world[hit] * t[hit][:, None]
            depth[hit] = t[hit]
            shade = 0.55 + 0.45 * abs(float(normal @ self.light))
            colour[hit] = self.paints[number].at(points) * shade
            if number == 0:
                colour[hit] *= self._shadow(points)
        return depth, colour.astype(np.float32)

    def _shadow(self, points: Array) -> Array:
        dark = np.ones(len(points), np.float32)
        for thing in self.things:
            lift = max(0.0, thing.centre[1] - thing.half[1] + self.eye)
            reach = (thing.half[[0, 2]].max() + 0.3 * lift) * 1.25
            gone = np.hypot(points[:, 0] - thing.centre[0], points[:, 2] - thing.centre[2]) / reach
            dark *= 1 - 0.5 * np.clip(1.3 - gone, 0, 1) / (1 + 2 * lift)
        return dark[:, None]

    def _draw(self, thing: Thing, world: Array, depth: Array, colour: Array, time: float) -> None:
        c, s = np.cos(thing.turn), np.sin(thing.turn)
        spin = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        if thing.kind == 3:
            spin = np.eye(3)
        centre = thing.centre + thing.speed * time
        way = ((world @ spin.T) / thing.half).astype(np.float32)
        start = (-(spin @ centre) / thing.half).astype(np.float32)
        t, normal = _hit(thing.kind, start, way)
        t = t.astype(np.float32)
        hit = (t > 0.05) & (t < depth)
        if thing.kind == 3:
            hit &= _cut_out(thing, start + way * np.where(hit, t, 0)[..., None])
        if not hit.any():
            return
        local = start + way[hit] * t[hit][:, None]
        facing = (normal[hit] / thing.half) @ spin
        facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-6)
        lit = 0.45 + 0.65 * np.clip(facing @ self.light, 0, 1)
        paint = thing.paint.at((local * thing.half).astype(np.float32))
        depth[hit] = t[hit]
        colour[hit] = paint * lit[:, None]

    def _photograph(self, colour: Array, _depth: Array, time: float) -> Array:
        rng = np.random.default_rng(int(time * 1000) + 1)
        if self.blur > 0.3:
            colour = cv2.GaussianBlur(colour, (0, 0), self.blur)  # type: ignore[assignment]
        colour = colour * self.exposure + rng.normal(0, self.noise, colour.shape)
        return np.clip(colour, 0, 1).astype(np.float32)


def _hit(kind: int, start: Array, way: Array) -> tuple[Any, Any]:
    """Where rays from `start` along `way` [..., 3] enter a unit shape: t [...] and normal."""
    far = np.float32(1e9)
    if kind == 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (-1 - start) / way, (1 - start) / way
        enter, leave = np.minimum(a, b), np.maximum(a, b)
        t = enter.max(axis=-1)
        normal = (enter == t[..., None]) * -np.sign(way)
        return np.where(t < leave.min(axis=-1), t, far), normal
    if kind == 3:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -start[2] / way[..., 2]
        normal = np.broadcast_to(np.array([0, 0, -1.0], np.float32), way.shape)
        return np.where(way[..., 2] > 1e-6, t, far), normal
    axes = [0, 2] if kind == 2 else [0, 1, 2]
    w, p = way[..., axes], start[axes]
    a, b, c = (w * w).sum(-1), w @ p, float(p @ p) - 1
    root = b * b - a * c
    t = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / np.maximum(a, 1e-12), far)
    points = start + way * t[..., None]
    normal = points.copy()
    if kind == 2:
        normal[..., 1] = 0
        t = np.where(np.abs(points[..., 1]) < 1, t, far)
    return t, normal


def _cut_out(thing: Thing, local: Array) -> Any:
    """A leafy outline: the radius goes up and down with the angle."""
    angle = np.arctan2(local[..., 1], local[..., 0])
    phase = thing.turn * 7
    radius = 0.75 + 0.14 * np.sin(3 * angle + phase) + 0.1 * np.sin(7 * angle + 2 * phase)
    return np.hypot(local[..., 0], local[..., 1]) < radius


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def coloured(rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour [3], more often near grey than not."""
    base = rng.uniform(0.08, 0.95)
    return np.clip(base + rng.normal(0, rng.choice([0.04, 0.15, 0.3]), 3), 0.03, 1)


def disparity(depth: Array) -> Array:
    """What the network learns: 1/z over the scene's largest (99th percentile), in 0..1."""
    inverse = 1 / depth
    return np.clip(inverse / np.percentile(inverse, 99), 0, 1).astype(np.float32)
