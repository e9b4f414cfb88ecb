"""Rooms: every pixel's targets are those of geometry; a picture hangs on (seed, number) alone."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from polytask import problems
from polytask.errors import PolytaskError
from polytask.problems.rooms import cast as casting
from polytask.problems.rooms.arrange import scene
from polytask.problems.rooms.cull import Grid
from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.edges import edges
from polytask.problems.rooms.render import Rendering, render
from polytask.problems.rooms.scene import KINDS, Camera, Kind, Light, Material, Part, Pattern, Scene, Shape
from polytask.problems.rooms.tables import camera_axes, views
from polytask.sharing import HardSharing, SmallCNN

ROOM = (5.0, 4.0, 3.0)
GREY = Material((0.5, 0.5, 0.5))
LAMP = Light((2.5, 2.0, 2.9))
QUARTER = Camera((1.0, 2.0, 1.5), yaw=0.0, view=math.pi / 2)  # looks along the world's x; |x / z| and |y / z| below 1


def room(*parts: Part, camera: Camera = QUARTER, lamps: tuple[Light, ...] = (LAMP,)) -> Scene:
    """An otherwise empty room."""
    return Scene(ROOM, (GREY,) * 6, parts, camera, lamps)


def rays(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x / z and y / z of the pixels of a square picture of `QUARTER`."""
    middles = (np.arange(size) + 0.5 - size / 2) / (size / 2)
    return np.meshgrid(middles, middles)


# --- geometry that is known in closed form ----------------------------------------------------------------------------


def test_an_empty_room_has_the_depths_of_its_walls() -> None:
    x, y = rays(33)
    ends = np.stack([np.full_like(x, 4.0), 2 / np.abs(x).clip(1e-9), 1.5 / np.abs(y).clip(1e-9)])
    seen = render([room()], 33, 33)
    assert seen.depth[0] == pytest.approx(ends.min(0), rel=1e-5)
    assert seen.depth[0, 16, 16] == pytest.approx(4.0)  # the wall x = 5 from x = 1
    axis = ends.argmin(0)
    assert np.array_equal(seen.kind[0] == Kind.FLOOR, (axis == 2) & (y > 0))
    assert np.array_equal(seen.kind[0] == Kind.CEILING, (axis == 2) & (y < 0))
    expected = np.stack([-np.sign(x) * (axis == 1), -np.sign(y) * (axis == 2), -1.0 * (axis == 0)])
    assert seen.normal[0] == pytest.approx(expected, abs=1e-6)


def test_a_ball_has_the_depths_and_normals_of_a_sphere() -> None:
    x, y = rays(33)
    ball = Part(Shape.BALL, (3.0, 2.0, 1.5), (0.5,) * 3, GREY, Kind.THING)
    seen = render([room(ball)], 33, 33)
    # |s (x, y, 1) - (0, 0, 2)| = 0.5: a s^2 - 4 s + 3.75 = 0
    a = x * x + y * y + 1
    under = 16 - 4 * a * 3.75
    hit = under > 0
    assert np.array_equal(seen.kind[0] == Kind.THING, hit)
    depth = (4 - np.sqrt(under.clip(0))) / (2 * a)
    assert seen.depth[0][hit] == pytest.approx(depth[hit], rel=1e-4)
    assert seen.depth[0, 16, 16] == pytest.approx(1.5)
    normal = (np.stack([x, y, np.ones_like(x)]) * depth - np.array([0, 0, 2.0])[:, None, None]) / 0.5
    assert seen.normal[0][:, hit] == pytest.approx(normal[:, hit], abs=2e-3)
    assert seen.normal[0, :, 16, 16] == pytest.approx([0, 0, -1], abs=1e-6)


def test_depth_is_along_the_line_of_sight_whichever_way_the_camera_is_turned() -> None:
    """Points of depth and ray lie on the walls in the world."""
    camera = Camera((1.2, 1.0, 1.6), yaw=0.7, pitch=-0.2, roll=0.1, view=1.2)
    seen = render([room(camera=camera)], 24, 40)
    right, down, ahead = (np.array(axis) for axis in camera_axes(camera))
    focal = 20 / math.tan(0.6)
    column, row = np.meshgrid((np.arange(40) + 0.5 - 20) / focal, (np.arange(24) + 0.5 - 12) / focal)
    ray = column[..., None] * right + row[..., None] * down + ahead
    point = np.array(camera.place) + seen.depth[0][..., None] * ray
    apart = np.minimum(np.abs(point), np.abs(point - np.array(ROOM)))
    assert apart.min(-1).max() < 1e-4
    assert (point > -1e-4).all()
    assert (point < np.array(ROOM) + 1e-4).all()


def test_the_axes_of_a_camera_are_a_right_handed_triple() -> None:
    right, down, ahead = (np.array(axis) for axis in camera_axes(Camera((0, 0, 0), yaw=2.0, pitch=-0.4, roll=0.3)))
    assert np.cross(right, down) == pytest.approx(ahead)
    assert np.stack([right, down, ahead]) @ np.stack([right, down, ahead]).T == pytest.approx(np.eye(3))


# --- the fast way and a slow one --------------------------------------------------------------------------------------


def nearest(part: Part, origin: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """How far along each ray [3, m] a part is, in float64, face by face; infinity where it is not."""
    (cos, sin), half = part.turn, np.array(part.half)[:, None]
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    origin, ray = turn @ (origin - np.array(part.centre))[:, None], turn @ ray
    a, b = (ray[:2] ** 2).sum(0), (ray[:2] * origin[:2]).sum(0)
    c = (origin[:2] ** 2).sum(0) - part.half[0] ** 2
    if part.shape is Shape.BALL:
        a, b, c = a + ray[2] ** 2, b + ray[2] * origin[2], c + origin[2] ** 2
    with np.errstate(all="ignore"):
        planes = [(axis, (side * half[axis] - origin[axis]) / ray[axis]) for axis in range(3) for side in (-1, 1)]
        rounded = (-b - np.sqrt(b * b - a * c)) / a
    slack = 1e-9
    found = []
    for axis, s in planes:
        at = origin + s * ray
        others = [k for k in range(3) if k != axis]
        if part.shape is Shape.BOX:
            found.append(np.where((np.abs(at[others]) <= half[others] + slack).all(0), s, np.inf))
        elif part.shape is Shape.CYLINDER and axis == 2:
            found.append(np.where((at[:2] ** 2).sum(0) <= part.half[0] ** 2, s, np.inf))
    if part.shape is not Shape.BOX:
        inside = np.abs(origin[2] + rounded * ray[2]) <= half[2] if part.shape is Shape.CYLINDER else True
        found.append(np.where((b * b > a * c) & inside, rounded, np.inf))
    return np.where(np.array(found) > 0.05, found, np.inf).min(0)


def test_every_ray_meets_the_part_that_a_slow_search_finds() -> None:
    size = 32
    for number in range(4):
        one = scene(5, number)
        seen = render([one], size, size)
        grid = Grid(1, size, size)
        cast_rays = casting.pixel_rays(views([one]), grid)
        ray = np.stack(cast_rays.world).astype(np.float64).reshape(3, -1)
        order = np.arange(size * size).reshape(4, 8, 4, 8).transpose(1, 3, 0, 2).ravel()  # tile by tile
        origin = np.array(one.camera.place, np.float32).astype(np.float64)
        found = np.stack([nearest(part, origin, ray) for part in one.parts])
        slow = np.full((2, size * size), np.inf)
        slow[:, order] = found.min(0), found.argmin(0)
        ends = np.where(ray > 0, np.array(one.room)[:, None] - origin[:, None], -origin[:, None]) / ray
        walls = np.empty(size * size)
        walls[order] = ends.min(0)
        free = slow[0] >= walls
        depth = seen.depth[0].ravel()
        agree = np.abs(depth - np.where(free, walls, slow[0])) < 1e-3
        assert agree.mean() > 0.998  # at outlines a ray may just miss in 32 bits
        kinds = np.array([part.kind for part in one.parts])[slow[1].astype(int)]
        assert (seen.kind[0].ravel() == kinds)[agree & ~free].mean() > 0.998


def test_leaving_out_far_parts_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [scene(1, number) for number in range(3)]
    fast = render(scenes, 40, 56)

    def every(table: Any, grid: Grid, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tiles = np.arange(len(grid.scene)).reshape(grid.pictures, -1)[table.scene[rows]]
        return tiles.ravel(), np.repeat(rows, tiles.shape[1])

    monkeypatch.setattr(casting, "seen_pairs", lambda table, _, grid, rows: every(table, grid, rows))
    monkeypatch.setattr(
        casting, "shading_pairs", lambda table, grid, *_: every(table, grid, np.flatnonzero(table.casts))
    )
    slow = render(scenes, 40, 56)
    assert np.array_equal(fast.depth, slow.depth)
    assert np.array_equal(fast.kind, slow.kind)
    assert np.array_equal(fast.image, slow.image)


# --- normals ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def furnished() -> tuple[list[Scene], Rendering]:
    scenes = [scene(0, number) for number in range(48)]
    return scenes, render(scenes, 64, 64)


def points(scenes: list[Scene], seen: Rendering) -> np.ndarray:
    """What every pixel shows, in camera axes, [n, 3, h, w]."""
    middles = (np.arange(64) + 0.5 - 32) / 32
    slope = np.array([math.tan(each.camera.view / 2) for each in scenes])[:, None, None]
    x, y = (each * slope for each in np.meshgrid(middles, middles))
    return np.stack([x * seen.depth, y * seen.depth, seen.depth], 1)


def test_normals_are_unit_vectors_on_the_side_that_is_seen(furnished: tuple[list[Scene], Rendering]) -> None:
    scenes, seen = furnished
    assert np.linalg.norm(seen.normal, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (seen.normal * points(scenes, seen)).sum(1).max() < 1e-3


def test_normals_are_the_slopes_of_the_depth_where_it_is_smooth(furnished: tuple[list[Scene], Rendering]) -> None:
    scenes, seen = furnished
    point = points(scenes, seen)
    across = point[..., 1:-1, 2:] - point[..., 1:-1, :-2]
    down = point[..., 2:, 1:-1] - point[..., :-2, 1:-1]
    found = np.cross(across, down, axis=1)
    found /= -np.linalg.norm(found, axis=1, keepdims=True)
    near = [seen.normal[..., 1 + i : 63 + i, 1 + j : 63 + j] for i, j in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))]
    thing = [seen.thing[..., 1 + i : 63 + i, 1 + j : 63 + j] for i, j in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))]
    flat = np.logical_and.reduce([np.abs(each - near[0]).max(1) < 1e-5 for each in near])
    flat &= np.logical_and.reduce([each == thing[0] for each in thing]) & (thing[0] < 0)  # walls, floor, ceiling
    assert flat.mean() > 0.4
    assert (found * near[0]).sum(1)[flat].min() > 0.9999


# --- light ------------------------------------------------------------------------------------------------------------


def test_behind_a_box_it_is_darker() -> None:
    """A lamp above the middle of a board: the floor below is in its shadow, the floor beside it is not."""
    board = Part(Shape.BOX, (3.5, 2.0, 1.0), (0.5, 0.5, 0.02), GREY, Kind.TABLE)
    down = Camera((0.5, 2.0, 1.6), yaw=0.0, pitch=-0.5, view=1.4)
    lamp = (Light((3.5, 2.0, 2.5)),)
    with_board, without = (render([room(*parts, camera=down, lamps=lamp)], 96, 96) for parts in ((board,), ()))
    same = (with_board.kind == Kind.FLOOR) & (without.kind == Kind.FLOOR)
    point = np.array(down.place) + sum(
        points_of[..., None] * np.array(axis)
        for points_of, axis in zip(_camera_points(without, down), camera_axes(down), strict=True)
    )
    # the board's shadow on the floor: half an edge 0.5 at 1.5 m below the lamp is 0.5 * 2.5 / 1.5 at the floor
    apart = np.abs(point[..., :2] - np.array([3.5, 2.0])).max(-1)
    brightness = [each.image[0].astype(float).mean(0) for each in (with_board, without)]
    below, beside = (same[0] & (apart[0] < 0.75)), (same[0] & (apart[0] > 0.95) & (apart[0] < 1.5))
    assert below.sum() > 20 < beside.sum()
    assert brightness[0][below].mean() < 0.75 * brightness[0][beside].mean()
    assert brightness[1][below].mean() > brightness[1][beside].mean()


def _camera_points(seen: Rendering, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = seen.depth.shape[-1]
    middles = (np.arange(size) + 0.5 - size / 2) / (size / 2) * math.tan(camera.view / 2)
    x, y = np.meshgrid(middles, middles)
    return x * seen.depth, y * seen.depth, seen.depth


def test_what_lets_light_through_throws_no_shadow() -> None:
    shade = Part(Shape.BALL, (3.0, 2.0, 2.0), (0.2,) * 3, GREY, Kind.LAMP)
    lamp = (Light((3.0, 2.0, 2.0)),)
    dark, bright = (render([room(shade._replace(casts=casts), lamps=lamp)], 32, 32) for casts in (True, False))
    floor = bright.kind == Kind.FLOOR
    assert (bright.image[:, 0][floor].std(), dark.image[:, 0][floor].std()) != (0, 0)
    empty = render([room(lamps=lamp)], 32, 32)
    ratio = bright.image[:, 0][floor].astype(float) / empty.image[:, 0][floor]
    assert ratio.std() < 0.05  # the exposure of the picture may differ, its shading does not


# --- edges ------------------------------------------------------------------------------------------------------------


def marked(
    thing: list[int], depth: list[float], normal: list[tuple[float, float, float]], x: list[float]
) -> list[bool]:
    """Edges of a picture one pixel high."""
    point = np.array([x, [0.0] * len(x), depth], np.float32)[None, :, None]
    found = edges(
        np.array(thing, np.int32)[None, None],
        np.array(depth, np.float32)[None, None],
        np.array(normal, np.float32).T[None, :, None],
        point,
    )
    return found[0, 0].tolist()


FRONT, SIDE, TILTED = (0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (math.sin(0.5), 0.0, -math.cos(0.5))


def test_edges_by_hand() -> None:
    assert marked([1, 1, 1], [2, 2, 2], [FRONT] * 3, [0, 1, 2]) == [False] * 3
    assert marked([1, 1, 2], [2, 2, 2], [FRONT] * 3, [0, 1, 2]) == [False, True, False]  # objects; a tie: the first
    assert marked([1, 1, 2], [2, 2, 1], [FRONT] * 3, [0, 1, 2]) == [False, False, True]  # the nearer one
    assert marked([1, 1], [2, 2.1], [FRONT, SIDE], [0, 1]) == [True, False]  # a crease of 90 degrees
    assert marked([1, 1], [2, 2], [FRONT, TILTED], [0, 0.01]) == [False, False]  # 28.6 degrees are none
    assert marked([1, 1], [2, 2.04], [FRONT] * 2, [0, 1]) == [False, False]  # 4 cm are no jump
    assert marked([1, 1], [2, 2.06], [FRONT] * 2, [0, 1]) == [True, False]  # 6 cm are one


def test_edges_lie_where_objects_meet_and_nowhere_in_the_middle_of_walls(
    furnished: tuple[list[Scene], Rendering],
) -> None:
    _, seen = furnished
    differs = seen.thing[..., :-1] != seen.thing[..., 1:]
    assert (seen.edge[..., :-1] | seen.edge[..., 1:])[differs].all()
    thing = seen.thing
    inside = np.logical_and.reduce(
        [
            thing[:, 1:-1, 1:-1] == thing[:, 1 + i : 63 + i, 1 + j : 63 + j]
            for i, j in ((0, 1), (0, -1), (1, 0), (-1, 0))
        ]
    )
    assert not seen.edge[:, 1:-1, 1:-1][inside & (thing[:, 1:-1, 1:-1] < 0)].any()
    assert 0.05 < seen.edge.mean() < 0.25


# --- scenes -----------------------------------------------------------------------------------------------------------


def test_a_scene_hangs_on_seed_and_number_alone() -> None:
    assert scene(3, 8) == scene(3, 8)
    assert scene(3, 8) != scene(3, 9)
    assert scene(3, 8) != scene(4, 8)


def test_scenes_stay_what_they_are() -> None:
    """Whoever changes what is rendered changes every result: do so openly, and bring these numbers up to date."""
    one = scene(0, 8)
    assert one.room == pytest.approx((4.871730755, 4.587504465, 2.407526528))
    assert len(one.parts) == 86
    seen = render([one], 32, 32)
    known = [253, 371, 82, 32, 8, 28, 151, 0, 17, 13, 69]
    assert np.abs(np.bincount(seen.kind.ravel(), minlength=len(KINDS)) - known).max() <= 2
    assert seen.depth[0, [0, 16, 31], [0, 16, 31]] == pytest.approx([2.295165, 4.62893, 1.703855], rel=1e-4)
    assert seen.image[0].mean((1, 2)) == pytest.approx([145.489, 152.277, 153.334], abs=0.1)
    assert abs(seen.edge.sum() - 322) <= 4


def test_random_numbers_are_those_of_philox() -> None:
    """By hand: the last of 256 words of the counter generator keyed with (seed, number), its upper 53 bits."""
    words = np.random.Philox(key=np.array([7, 2], np.uint64)).random_raw(256)
    draw = Draw(7, 2)
    assert [draw.unit(), draw.unit()] == [(int(word) >> 11) / 2**53 for word in (words[255], words[254])]
    assert all(1 <= draw.whole(1, 3) <= 3 for _ in range(1000))
    assert Draw(0, 0).whole(0, 999) == 566


def test_a_picture_does_not_hang_on_those_rendered_with_it() -> None:
    scenes = [scene(2, number) for number in range(5)]
    together = render(scenes, 24, 32)
    for number, one in enumerate(scenes):
        alone = render([one], 24, 32)
        for name in ("image", "kind", "thing", "depth", "normal", "edge"):
            assert np.array_equal(getattr(alone, name)[0], getattr(together, name)[number]), name


def test_the_camera_is_in_the_room_and_in_no_part(furnished: tuple[list[Scene], Rendering]) -> None:
    scenes, seen = furnished
    assert seen.depth.min() > 0.2
    assert (seen.depth.max((1, 2)) > 1.0).all()
    for one in scenes:
        assert all(0.3 < place < end - 0.3 for place, end in zip(one.camera.place, one.room, strict=True))
        for part in one.parts:
            (cos, sin), (x, y, z) = part.turn, part.half
            reach = (abs(cos) * x + abs(sin) * y, abs(sin) * x + abs(cos) * y, z)
            for centre, half, end in zip(part.centre, reach, one.room, strict=True):
                assert -0.02 < centre - half < centre + half < end + 0.02


def test_no_class_is_rare_or_everywhere(furnished: tuple[list[Scene], Rendering]) -> None:
    _, seen = furnished
    share = np.bincount(seen.kind.ravel(), minlength=len(KINDS)) / seen.kind.size
    assert share.min() > 0.004, dict(zip(KINDS, share, strict=True))
    assert share.max() < 0.45
    for kind in Kind:
        assert (seen.kind == kind).any((1, 2)).mean() > 0.2, kind


def faces(parts: list[Part]) -> list[tuple[tuple[int, int], float, list[tuple[float, float]]]]:
    """Flat faces in the axes of the parts' common turn: (axis, side), where its plane is, its borders."""
    found = []
    for part in parts:
        (cos, sin), (x, y, z), half = part.turn, part.centre, part.half
        centre = (cos * x + sin * y, cos * y - sin * x, z)
        flat = {Shape.BOX: (0, 1, 2), Shape.CYLINDER: (2,), Shape.BALL: ()}[part.shape]
        for axis, side in itertools.product(flat, (-1, 1)):
            borders = [(centre[k] - half[k], centre[k] + half[k]) for k in range(3) if k != axis]
            found.append(((axis, side), centre[axis] + side * half[axis], borders))
    return found


def test_no_two_faces_of_a_piece_lie_in_one_plane(furnished: tuple[list[Scene], Rendering]) -> None:
    """Else chance decides which one a pixel shows. (Faces that look down are not seen.)"""
    scenes, _ = furnished
    for one in scenes:
        for _, group in itertools.groupby(one.parts, key=lambda part: part.thing):
            for (way, at, borders), (other_way, other_at, others) in itertools.combinations(faces(list(group)), 2):
                if way == other_way != (2, -1) and abs(at - other_at) < 5e-4:
                    common = [min(a[1], b[1]) - max(a[0], b[0]) for a, b in zip(borders, others, strict=True)]
                    assert min(common) < 1e-3, (one.camera, way, at)


def test_every_pattern_is_used(furnished: tuple[list[Scene], Rendering]) -> None:
    scenes, _ = furnished
    used = {part.material.pattern for one in scenes for part in one.parts}
    used |= {face.pattern for one in scenes for face in one.faces}
    assert used == set(Pattern)


def test_colour_does_not_give_the_class_away(furnished: tuple[list[Scene], Rendering]) -> None:
    """Naming, for each of 512 colours, its most frequent class is not much better than always naming one."""
    _, seen = furnished
    code = (seen.image.astype(int) // 32 * np.array([64, 8, 1])[:, None, None]).sum(1)
    table = np.zeros((512, len(KINDS)))
    np.add.at(table, (code[:24].ravel(), seen.kind[:24].ravel()), 1)
    accuracy = (table.argmax(1)[code[24:]] == seen.kind[24:]).mean()
    majority = (seen.kind[24:] == Kind.WALL).mean()
    assert accuracy < majority + 0.2


# --- the problem ------------------------------------------------------------------------------------------------------

EVERYTHING = ("segmentation", "depth", "normals", "edges", "reconstruction")


@pytest.fixture(scope="module")
def small() -> problems.Problem:
    return problems.rooms(n_train=40, size=(16, 24), tasks=EVERYTHING)


def test_the_problem_has_every_task_asked_for(small: problems.Problem) -> None:
    assert [task.name for task in small.tasks] == list(EVERYTHING)
    assert {split: len(data) for split, data in small.splits.items()} == {"train": 40, "validation": 5, "test": 10}
    inputs, targets = small.splits["train"].gather(torch.arange(4))
    assert inputs.shape == (4, 3, 16, 24)
    assert inputs.dtype == torch.float32
    assert 0 <= inputs.min() < 0.2 < 0.8 < inputs.max() <= 1
    assert torch.allclose(targets["reconstruction"].float(), inputs, atol=1e-3)
    assert [task.name for task in problems.rooms(n_train=40, size=16).tasks] == ["segmentation", "depth", "normals"]


def test_its_pictures_are_those_of_its_seed(small: problems.Problem) -> None:
    again = problems.rooms(**{**small.spec["args"], "n_train": 80})
    assert torch.equal(again.splits["train"].inputs[:40], small.splits["train"].inputs)
    other = problems.rooms(n_train=40, size=(16, 24), seed=1)
    assert not torch.equal(other.splits["train"].inputs, small.splits["train"].inputs)
    shown = render([scene(0, 3)], 16, 24)
    data = small.splits["train"]
    assert torch.equal(data.inputs[3], torch.from_numpy(shown.image[0]))
    assert torch.equal(data.targets["segmentation"][3], torch.from_numpy(shown.kind[0]))
    assert torch.equal(data.targets["edges"][3].bool(), torch.from_numpy(shown.edge[0]))
    assert torch.allclose(data.targets["depth"][3].float(), torch.from_numpy(shown.depth[0]), rtol=1e-3)
    assert torch.allclose(data.targets["normals"][3].float(), torch.from_numpy(shown.normal[0]), atol=1e-3)


def test_no_scene_is_in_two_splits(small: problems.Problem) -> None:
    seen = [{picture.numpy().tobytes() for picture in data.inputs} for data in small.splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 55


def test_a_network_learns_all_of_it(small: problems.Problem) -> None:
    model = HardSharing(SmallCNN(3, (8, 8)), small.tasks)
    inputs, targets = small.splits["train"].gather(torch.arange(8))
    seen: list[dict[str, float]] = []
    for _ in range(10):
        losses = small.losses(model(inputs), targets)
        seen.append({name: loss.item() for name, loss in losses.items()})
        parameters = list(model.parameters())
        for parameter, slope in zip(parameters, torch.autograd.grad(sum(losses.values()), parameters), strict=True):
            parameter.data -= 0.05 * slope
    assert all(seen[-1][name] < seen[0][name] for name in EVERYTHING)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n_train": 3}, "at least 40 training pictures"),
        ({"size": 8}, "at least 16"),
        ({"size": (64, 64, 3)}, "height, width"),
        ({"size": 64.5}, "whole number of pixels"),
        ({"tasks": ("depth", "nromals")}, "no task 'nromals'.*normals"),
        ({"tasks": "depth"}, "several different names"),
        ({"tasks": ("depth", "depth")}, "several different names"),
        ({"tasks": ()}, "several different names"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        problems.rooms(**arguments)
