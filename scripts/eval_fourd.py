"""Depth, holes and rasteriser on held-out procedural scenes: prints JSON. About a minute.

Scenes 0..59 were never trained on, of two kinds: things on a ground, and a figure close by. Depth
is scored up to a shift and scale of disparity, which no single picture tells: AbsRel and the share
of pixels within a factor of 1.25, the sky left out.
`abs_rel_of_lower_is_nearer` is what one gets by taking the place in the picture for depth.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from reelmesh.node.stages.depth import estimate
from reelmesh.node.stages.depth_net import DepthNet, load_network
from reelmesh.node.stages.fourd.geometry import project
from reelmesh.node.stages.fourd.mesh import build_mesh
from reelmesh.node.stages.fourd.raster import rasterise
from reelmesh.node.stages.warp import seen_from
from reelmesh.scheduler.camera import orbit
from scripts.train_depth.near import NearScene
from scripts.train_depth.scenes import FAR, Scene, disparity

SCENES = range(60)
SIZE = (144, 192)
ANGLES = (5.0, 15.0, 30.0)


def main() -> None:
    """Score and print."""
    torch.set_num_threads(1)
    network = load_network(torch.device("cpu"))
    told = {
        "depth": depth_errors(network, Scene),
        "depth_of_figures": depth_errors(network, NearScene),
        "hole_share": {f"{angle:g}_degrees": hole_share(angle) for angle in ANGLES},
        "rasteriser": rasteriser(),
    }
    print(json.dumps({"fourd": told}, indent=2))


def depth_errors(network: DepthNet, kind: type[Scene]) -> dict[str, object]:
    """The network, and the place in the picture, against the exact depth of the held-out scenes."""
    errors, within, plain = [], [], []
    for seed in SCENES:
        picture, depth = kind(seed).render(*SIZE)
        found = estimate(network, (picture * 255).astype(np.uint8)).numpy()
        lower = np.linspace(0, 1, SIZE[0], dtype=np.float32)[:, None].repeat(SIZE[1], 1)
        error, share = score(found, depth)
        errors.append(error)
        within.append(share)
        plain.append(score(lower, depth)[0])
    return {
        "scenes": f"{SCENES.start}..{SCENES.stop - 1}",
        "abs_rel": round(float(np.mean(errors)), 3),
        "abs_rel_median": round(float(np.median(errors)), 3),
        "delta_1.25": round(float(np.mean(within)), 3),
        "abs_rel_of_lower_is_nearer": round(float(np.mean(plain)), 3),
    }


def score(found: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    """AbsRel and δ < 1.25 after the best shift and scale of disparity, for z < FAR / 2."""
    solid = depth < FAR / 2
    wanted = 1 / depth[solid]
    a = np.stack([found[solid], np.ones(solid.sum())], 1)
    fit = np.linalg.lstsq(a, wanted, rcond=None)[0]
    guess = 1 / np.maximum(a @ fit, 1 / FAR)
    ratio = np.maximum(guess / depth[solid], depth[solid] / guess)
    return float(np.mean(np.abs(guess - depth[solid]) / depth[solid])), float(np.mean(ratio < 1.25))


def hole_share(angle: float) -> float:
    """The part of a view that the footage never showed, with exact depth; both ways round."""
    holes = []
    for seed in range(8):
        picture, depth = Scene(seed).render(*SIZE)
        frame = (picture * 255).astype(np.uint8)
        plane = torch.from_numpy(disparity(depth))
        for way in (angle, -angle):
            view = seen_from(frame, plane, orbit(way, way, 1.0).at(0))
            holes.append(1 - view.seen.mean())
    return round(float(np.mean(holes)), 4)


def rasteriser() -> dict[str, object]:
    """CPU seconds for mesh and rasteriser at 512x288, one thread."""
    plane = torch.from_numpy(disparity(Scene(3).render(288, 512)[1]))
    pose = orbit(15, 15, 1.0).at(0)
    took = []
    for _ in range(3):
        began = time.process_time()
        mesh = build_mesh(plane)
        rasterise(project(mesh.points, pose, 288, 512), mesh.faces, 288, 512)
        took.append(time.process_time() - began)
    return {"size": "512x288", "faces": len(mesh.faces), "cpu_s_per_view": round(min(took), 3)}


if __name__ == "__main__":
    main()
