"""Indoor scenes rendered by us, with exact targets for every pixel."""

import gc
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from polytask._memory import keep_freed_memory
from polytask._text import did_you_mean
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.problems.multi_mnist import bytes_to_floats
from polytask.problems.problem import Problem
from polytask.problems.rooms.arrange import scene
from polytask.problems.rooms.render import Rendering, render
from polytask.problems.rooms.scene import KINDS
from polytask.sharing import SmallCNN
from polytask.tasks import Depth, Edges, Normals, Reconstruction, Segmentation, Task

FIRST = {"train": 0, "validation": 2**40, "test": 2**41}  # number of each split's first scene
PIXELS = 16 * 64 * 64  # rendered at a time: what the caches of a core hold
ALONE = 8  # so many times PIXELS are rendered in the time that other processes take to begin
SMALLEST = 16  # size of a picture
FEWEST = 40  # training pictures


class Kept(NamedTuple):
    """What is known about a task here.

    Args:
        make: the task.
        dtype: in which its targets are held.
        channels: of its targets; None: they have no such axis.
        target: its targets, from a rendering.
    """

    make: Callable[[], Task]
    dtype: type[np.generic]
    channels: int | None
    target: Callable[[Rendering], NDArray[Any]]


TASKS = {
    "segmentation": Kept(lambda: Segmentation("segmentation", KINDS), np.int8, None, lambda seen: seen.kind),
    "depth": Kept(lambda: Depth("depth", scored=("absolute", "relative")), np.float16, None, lambda seen: seen.depth),
    "normals": Kept(lambda: Normals("normals"), np.float16, 3, lambda seen: seen.normal),
    "edges": Kept(lambda: Edges("edges"), np.int8, None, lambda seen: seen.edge),
    "reconstruction": Kept(
        lambda: Reconstruction("reconstruction"), np.float16, 3, lambda seen: seen.image / np.float32(255)
    ),
}


def rooms(
    n_train: int = 4000,
    size: int | tuple[int, int] = 64,
    tasks: Sequence[str] = ("segmentation", "depth", "normals"),
    seed: int = 0,
) -> Problem:
    """Indoor scenes rendered by us: what every pixel shows, how far away it is, which way it faces, where edges are.

    * Input: 3 x 64 x 64 pixels (or another size) in RGB, held as bytes and given to the network as 0..1. A furnished
      room, seen from a random place at the height of a person's eyes (1.3 to 1.75 m) or, once in four, of a robot's
      (0.5 to 0.9 m), with an angle of view of 60 to 77 degrees. One ray goes through the middle of every pixel.
    * Tasks: `segmentation` into 11 classes: wall, floor (with rugs), ceiling, opening (windows, curtains, doors),
      picture, table, cupboard (and shelves), bed, seat, lamp, thing (balls, bins, crates, plants, screens).
      `depth`, metres along the line of sight of the camera (its z axis), not along the ray.
      `normals`, unit vectors in the camera's axes, x to the right, y down, z along the line of sight, on the side that
      is seen: normal . ray < 0, so that a surface seen from the front has (0, 0, -1).
      `edges`, one pixel wide: outlines of objects, creases of more than 30 degrees and jumps of more than 5 cm. Of two
      pixels side by side, or one above the other, that which is nearer to the camera is an edge where they show
      different objects, or their normals differ so much, or each lies so far off the plane through the other.
      `reconstruction`, the picture itself. The last two only when asked for. No label is missing.
    * Size: `n_train` training pictures, an eighth as many for validation, a quarter as many for test.
    * Split: every picture is a scene of its own. Scenes are drawn by (seed, number); the numbers of training,
      validation and test start at 0, 2^40 and 2^41, so that no scene is in two splits.
    * Source: rendered here by ray casting. Rooms of 3 to 5.5 metres with boxes, cylinders and balls for furniture,
      procedural textures, one or two lamps with shadows, light from everywhere that is dimmer in corners; exposure to
      one mean brightness, a soft lens, noise. Tables, cupboards, beds and seats draw their colours from the same ones.
      Licence: that of polytask (MIT).

    Picture k does not depend on how many there are, nor on how many processes render them. Only arithmetic that IEEE
    754 fixes and NumPy's Philox counter are used on pixels, so that all machines should render the same bytes; angles
    of cameras and furniture come from the C library's sine and cosine, whose last bits may differ.

    Depth and normals are held in 16 bits (steps of 2 mm between 2 and 4 m, and of 0.0005).

    Hard sharing with the default trunk and the suggested budget scores on the test split (one seed; in parentheses the
    best constant): mIoU 0.46 (0.03), pixel accuracy 0.78 (0.35), depth 0.42 m off (0.82) or 18 % (36 %), normals 22
    degrees off (59). It takes about a minute and a half of one core.

    Args:
        n_train: number of training pictures.
        size: height and width in pixels; one number for a square.
        tasks: which, in which order: "segmentation", "depth", "normals", "edges", "reconstruction".
        seed: draws the scenes.

    Raises:
        PolytaskError: too few pictures, too small ones, a task that there is not, a negative seed.

    Cost: 3 to 4 ms of one core per picture of 64 x 64; on Linux in as many processes as torch has threads, elsewhere in
    one (two cores: 530 to 580 pictures a second). 48 kB of memory per picture with the three default tasks.

    >>> problem = rooms(n_train=40, size=(16, 24), tasks=("segmentation", "edges"))
    >>> inputs, targets = next(iter(problem.loader("validation")))
    >>> tuple(inputs.shape), {name: tuple(target.shape) for name, target in targets.items()}
    ((5, 3, 16, 24), {'segmentation': (5, 16, 24), 'edges': (5, 16, 24)})
    """
    if n_train < FEWEST:
        raise PolytaskError(f"rooms needs at least {FEWEST} training pictures, got n_train={n_train}")
    if not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise PolytaskError(f"seed must be a whole number from 0 to 2^64 - 1, got {seed!r}")
    height, width = _size(size)
    kept = _kept(tasks)
    counts = {"train": n_train, "validation": n_train // 8, "test": n_train // 4}
    splits = {split: _data(kept, seed, FIRST[split], count, height, width) for split, count in counts.items()}
    made = [each.make() for each in kept.values()]
    return Problem(
        name="rooms",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in made),
        splits=splits,
        backbone=SmallCNN(channels=3, widths=(32, 64, 128, 128)),
        summary=f"Rendered rooms of {height} x {width} pixels: what, how far away and how turned every pixel is",
        source="rendered by polytask",
        licence="the same as polytask's (MIT)",
        suggested={"epochs": 5, "batch_size": 32, "learning_rate": 3e-3},
        spec={
            "name": "rooms",
            "args": {"n_train": n_train, "size": [height, width], "tasks": list(kept), "seed": seed},
        },
        notes=(
            "rendered scenes: scores say nothing about photographs",
            "depth is along the camera's z axis; normals are in camera axes, x right, y down, z ahead",
        ),
    )


def _data(kept: dict[str, Kept], seed: int, first: int, count: int, height: int, width: int) -> TensorData:
    """Scenes `first` to `first + count - 1` of a seed."""
    images = np.empty((count, 3, height, width), np.uint8)
    targets = {
        name: np.empty((count, *([each.channels] if each.channels else []), height, width), each.dtype)
        for name, each in kept.items()
    }
    step = max(1, PIXELS // (height * width))
    starts = range(0, count, step)
    keep_freed_memory()  # of a chunk, for the next one: saves a third of the time
    with _pool(len(starts)) as pool:
        numbers = (range(first + start, first + min(start + step, count)) for start in starts)
        for start, (image, found) in zip(
            starts, pool.map(partial(_chunk, tuple(kept), seed, height, width), numbers), strict=True
        ):
            images[start : start + step] = image
            for name, target in found.items():
                targets[name][start : start + step] = target
    held = {name: torch.from_numpy(target) for name, target in targets.items()}
    return TensorData(torch.from_numpy(images), held, transform=bytes_to_floats)


def _chunk(
    tasks: Sequence[str], seed: int, height: int, width: int, numbers: range
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Pictures and targets of the scenes of these numbers."""
    seen = render([scene(seed, number) for number in numbers], height, width)
    return seen.image, {name: TASKS[name].target(seen).astype(TASKS[name].dtype) for name in tasks}


def _pool(chunks: int) -> Executor:
    """What renders so many chunks: several processes, or one thread where they are few or processes can't be forked.

    Several threads would wait for each other: the steps of NumPy are too small. What the processes inherit is frozen:
    collecting garbage would copy it.
    """
    threads = torch.get_num_threads()
    can = sys.platform == "linux" and not multiprocessing.current_process().daemon
    if can and threads > 1 and chunks > ALONE:
        return ProcessPoolExecutor(threads, multiprocessing.get_context("fork"), gc.freeze)
    return ThreadPoolExecutor(1)


def _kept(tasks: Sequence[str]) -> dict[str, Kept]:
    """The tasks asked for, in that order."""
    if isinstance(tasks, str) or not tasks or len(set(tasks)) < len(tasks):
        raise PolytaskError(f"rooms takes tasks as several different names of {', '.join(TASKS)}; got {tasks!r}")
    for name in tasks:
        if name not in TASKS:
            raise PolytaskError(f"rooms has no task '{name}'; {did_you_mean(name, TASKS)}")
    return {name: TASKS[name] for name in tasks}


def _size(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width."""
    found = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(found) != 2 or not all(isinstance(each, int) and each >= SMALLEST for each in found):
        raise PolytaskError(
            f"size must be a whole number of pixels, or (height, width), of at least {SMALLEST} each; got {size!r}"
        )
    return found[0], found[1]
