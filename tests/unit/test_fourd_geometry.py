"""Mesh, rasteriser and filling: closed, the same in any order, agreeing with Embree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reelmesh.node.stages.fourd.fill import fill, push_pull
from reelmesh.node.stages.fourd.geometry import (
    BEHIND,
    depth_of,
    disparity_of,
    focal,
    project,
    rotation,
)
from reelmesh.node.stages.fourd.mesh import CLOSING, HOLE, SURFACE, build_mesh, smallest_angles
from reelmesh.node.stages.fourd.raster import rasterise
from reelmesh.node.stages.warp import seen_from
from reelmesh.scheduler.camera import SOURCE_FOV, Pose, orbit

HEIGHT, WIDTH = 72, 96
HOME = Pose(0, 0, 0, 0, 0, 1, SOURCE_FOV)


def scene() -> Tensor:
    """A near square before a slope."""
    plane = torch.linspace(0.1, 0.5, HEIGHT)[:, None].repeat(1, WIDTH)
    plane[20:50, 30:60] = 0.9
    return plane


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def aside(degrees: float) -> Pose:
    return orbit(degrees, degrees, 1.0).at(0)


def test_depth_and_disparity_are_inverse() -> None:
    values = torch.linspace(0, 1, 11).double()
    assert torch.allclose(disparity_of(depth_of(values)), values)


def test_the_mesh_is_closed_and_all_its_faces_turn_the_same_way() -> None:
    mesh = build_mesh(scene())
    f = mesh.faces
    edges = torch.cat([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    directed = torch.unique(edges, dim=0, return_counts=True)[1]
    either = torch.unique(edges.sort(dim=1).values, dim=0, return_counts=True)[1]
    assert set(directed.tolist()) == {1}
    assert set(either.tolist()) == {2}


def test_the_border_lies_behind_everything() -> None:
    mesh = build_mesh(scene())
    border = mesh.points[mesh.faces[mesh.kinds == CLOSING]][..., 2].amax(1)
    assert bool((border == BEHIND).all())
    assert float(mesh.points[mesh.faces[mesh.kinds == SURFACE]][..., 2].max()) < BEHIND


def test_faces_thinner_than_the_limit_and_only_those_are_holes() -> None:
    mesh = build_mesh(scene())
    inner = mesh.kinds != CLOSING
    thin = smallest_angles(mesh.points, mesh.faces[inner]) < 2.5
    assert torch.equal(mesh.kinds[inner] == HOLE, thin)
    assert 0 < int(thin.sum()) < 0.1 * len(thin)
    # Holes go round the square, and nowhere else.
    where = mesh.places[mesh.faces[mesh.kinds == HOLE]].mean(1)
    assert bool(((where[:, 0] > 27) & (where[:, 0] < 63)).all())
    assert bool(((where[:, 1] > 17) & (where[:, 1] < 53)).all())


def test_angles_are_those_of_known_triangles() -> None:
    points = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 0, 0]]).double()
    faces = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 4, 1]])
    assert smallest_angles(points, faces).tolist() == pytest.approx([45, 0, 0], abs=1e-5)


def test_from_where_it_was_taken_a_frame_looks_as_it_was() -> None:
    frame = picture()
    view = seen_from(frame, torch.full((HEIGHT, WIDTH), 0.4), HOME)
    assert view.seen.all()
    assert np.abs(view.colour.astype(int) - frame).max() <= 1


def test_a_moved_camera_sees_holes_beside_the_near_thing_and_moves_it_more() -> None:
    frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    frame[20:50, 30:60] = 200
    centres = {}
    for angle in (-10.0, 10.0):
        view = seen_from(frame, scene(), aside(angle))
        centres[angle] = np.argwhere(view.colour[..., 0] > 150)[:, 1].mean()
        assert 0.01 < 1 - view.seen.mean() < 0.3
        assert view.hit[view.seen].all()
    # The camera goes right: what is nearer than the middle of the scene goes left.
    assert centres[10.0] < centres[-10.0] - 1


def test_the_order_of_faces_does_not_matter() -> None:
    mesh = build_mesh(scene())
    corners = project(mesh.points, aside(15), HEIGHT, WIDTH)
    first = rasterise(corners, mesh.faces, HEIGHT, WIDTH)
    order = torch.randperm(len(mesh.faces), generator=torch.Generator().manual_seed(3))
    second = rasterise(corners, mesh.faces[order], HEIGHT, WIDTH)
    hit = first.face >= 0
    assert torch.equal(hit, second.face >= 0)
    same = order[second.face.clamp(min=0)] == first.face
    # Two faces at the very same depth may change places; what is seen may not.
    assert float((same | ~hit).double().mean()) > 0.999
    assert torch.allclose(first.depth, second.depth, atol=1e-6)


def test_one_and_two_threads_give_the_same_bits() -> None:
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            view = seen_from(picture(), scene(), aside(-12))
            made.append(view.colour.tobytes() + view.disparity.tobytes() + view.seen.tobytes())
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1]


def test_neighbouring_triangles_share_no_pixel_and_leave_none_out() -> None:
    generator = torch.Generator().manual_seed(5)
    grid = torch.stack(torch.meshgrid(*[torch.linspace(2, 30, 8)] * 2, indexing="xy"), -1)
    inner = torch.rand(8, 8, 2, generator=generator) * 2
    inner[[0, -1]] = 0
    inner[:, [0, -1]] = 0
    corners = torch.cat([(grid + inner).view(-1, 2), torch.ones(64, 1)], 1).double()
    number = torch.arange(64).view(8, 8)
    a, b, c, d = (
        number[y : y + 7, x : x + 7].reshape(-1) for y, x in ((0, 0), (0, 1), (1, 0), (1, 1))
    )
    faces = torch.cat([torch.stack([a, c, b], 1), torch.stack([b, c, d], 1)])
    counts = torch.zeros(32, 32)
    for face in faces:
        counts += (rasterise(corners, face[None], 32, 32).face >= 0).float()
    assert counts.max() == 1
    assert int(counts.sum()) == 28 * 28


@pytest.mark.parametrize("angle", [-30.0, -7.0, 18.0])
def test_the_hit_mask_is_embrees(angle: float) -> None:
    core = pytest.importorskip("embreex.rtcore_scene", reason="embreex cannot be imported here")
    from embreex.mesh_construction import TriangleMesh

    mesh = build_mesh(scene())
    pose = aside(angle)
    seen = mesh.faces[mesh.kinds == SURFACE]  # with the closing everything would be hit
    raster = rasterise(project(mesh.points, pose, HEIGHT, WIDTH), seen, HEIGHT, WIDTH)
    world = core.EmbreeScene()
    TriangleMesh(world, mesh.points.numpy().astype(np.float32), seen.numpy().astype(np.int32))
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    f = focal(pose.fov, HEIGHT, WIDTH)
    rays = np.stack([(xs - WIDTH / 2) / f, (HEIGHT / 2 - ys) / f, np.ones_like(xs)], -1)
    ways = (rays.reshape(-1, 3) @ rotation(pose).numpy()).astype(np.float32)
    eyes = np.tile(np.array(pose[:3], np.float32), (len(ways), 1))
    found = world.run(eyes, ways).reshape(HEIGHT, WIDTH)
    assert ((raster.face >= 0).numpy() == (found >= 0)).mean() >= 0.9995
    both = (raster.face >= 0).numpy() & (found >= 0)
    assert (raster.face.numpy() == found)[both].mean() > 0.99


def test_push_pull_keeps_what_is_known_and_continues_a_plain_colour() -> None:
    known = torch.ones(50, 70)
    known[10:30, 20:50] = 0
    plain = torch.full((3, 50, 70), 90.0)
    assert torch.allclose(push_pull(plain * known, known), plain, atol=1e-3)
    noise = torch.rand(3, 50, 70)
    made = push_pull(noise, known)
    assert torch.equal(made[:, known > 0], noise[:, known > 0])


def test_a_hole_is_filled_with_what_lies_behind_and_not_with_what_stands_before() -> None:
    colour = torch.full((3, 40, 60), 30.0)
    colour[:, :, :20] = 220.0
    disparity = torch.full((40, 60), 0.1)
    disparity[:, :20] = 0.9
    known = torch.ones(40, 60, dtype=torch.bool)
    known[:, 20:32] = False
    made = fill(colour, disparity, known)
    assert float(made[:, :, 20:32].max()) < 60
