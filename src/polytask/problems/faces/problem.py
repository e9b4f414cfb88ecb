"""Faces drawn by us: landmarks, and what else is known of a face."""

import numpy as np
import torch

from polytask._memory import keep_freed_memory
from polytask.data import Augmentation, Points, RandomFlip, RandomScaleCrop, SidedClasses, TensorData
from polytask.errors import PolytaskError
from polytask.problems.faces.render import render
from polytask.problems.faces.traits import POSES
from polytask.problems.multi_mnist import bytes_to_floats
from polytask.problems.problem import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import Binary, Landmarks, MultiClass, Task

FIRST = {"train": 0, "validation": 2**40, "test": 2**41}  # number of each split's first face
PIXELS = 32 * 48 * 48  # drawn at a time: what the caches of a core hold
SMALLEST = 32  # size of a picture
FEWEST = 40  # training pictures
FOLLOW = {"landmarks": Points(((0, 1), (3, 4))), "pose": SidedClasses(((0, 4), (1, 3)))}
"""Mirrored, left and right points change places, and so do left and right poses."""
AUGMENTATION = Augmentation((RandomScaleCrop((1.0, 1.1)), RandomFlip()), FOLLOW)
POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
COMMON: tuple[Task, ...] = (
    Landmarks("landmarks", POINTS, between=(0, 1)),
    MultiClass("pose", POSES, auxiliary=True),
    Binary("smile", ("no", "yes"), auxiliary=True),
    Binary("glasses", ("no", "yes"), auxiliary=True),
)
"""Tasks of drawn and of photographed faces."""
TASKS = (*COMMON, Binary("hair", ("short", "long"), auxiliary=True))
"""Named as what `render.Faces` tells."""


def faces(n_train: int = 8000, size: int = 40, colour: bool = False, augment: bool = True, seed: int = 0) -> Problem:
    """Faces drawn by us: where eyes, nose and mouth are; how the head is turned; smile, glasses, long hair.

    * Input: 1 x 40 x 40 grey pixels (or another size, or 3 x 40 x 40 in colour), held as bytes and given to the network
      as 0..1.
    * Tasks: `landmarks`, the main one: left eye, right eye, tip of the nose, left and right corner of the mouth, as
      fractions of the picture, with the normalised mean error (NME) over the distance of the eyes. Auxiliary: `pose`,
      one of left profile, left, frontal, right, right profile; `smile`; `glasses`, clear or dark ones; `hair`, short or
      long. No label is missing: points that hair, glasses or the head itself hide have their places too.
    * Size: `n_train` training pictures, an eighth as many for validation, a quarter as many for test.
    * Split: every picture is a face of its own. Faces are drawn by (seed, number); the numbers of training, validation
      and test start at 0, 2^40 and 2^41.
    * Source: drawn here. A head of ellipsoids with proportions of its own, skin, hair, eyes, brows, lips, perhaps a
      beard, seen by parallel rays from its side, in light from one direction and from everywhere, before a wall with
      spots or stripes; exposure, softness and noise as of a camera. Licence: that of polytask (MIT).

    Tasks, order of the points and sides are those of MTFL (`mtfl`): left is left in the picture. Where MTFL has the
    gender that people gave a person, drawn faces have nothing of the kind; the length of the hair stands there, drawn
    by lot like everything else.

    What depends on what: the head is turned by 0 to 15, 15 to 38 or 38 to 55 degrees (frontal, sides, profiles: 50, 35
    and 15 % of the faces), nods and is tilted by up to 17, which moves all points. A smile (half of the
    faces) makes the mouth wider, lifts its corners, mostly shows the teeth and narrows the eyes. Glasses (35 %, a
    quarter of them dark) sit around the eyes. Hair says nothing about the points; it hides some.

    The landmarks are exact: those places of the head, projected as the pixels are.

    Training pictures are augmented as those of `mtfl`: mirrored, half of them, with left and right points and poses
    changing places; and windows of 1 / 1.1 of their size or all of it. A point that leaves the window is missing.

    Face k does not depend on how many there are.

    Hard sharing with the default trunk and the suggested budget scores on the test split (one seed; in parentheses the
    best constant): NME 0.126 (0.49), accuracy of pose 0.92 (0.50), smile 0.84 (0.51), glasses 0.97 (0.64), hair 0.99
    (0.51), in 40 seconds of one core. With 4,000 pictures and as many epochs NME is 0.148, smile 0.70.

    Args:
        n_train: number of training pictures.
        size: height and width in pixels.
        colour: red, green and blue instead of grey.
        augment: whether training pictures are.
        seed: draws the faces.

    Raises:
        PolytaskError: too few pictures, too small ones, a negative seed.

    Cost: 0.8 ms of one core per grey picture of 40 x 40, 1 ms at 48 x 48; 1.6 kB of memory each at 40 x 40.

    >>> problem = faces(n_train=40)
    >>> inputs, targets = next(iter(problem.loader("validation")))
    >>> tuple(inputs.shape), {name: tuple(target.shape) for name, target in targets.items()}
    ((5, 1, 40, 40), {'landmarks': (5, 5, 2), 'pose': (5,), 'smile': (5,), 'glasses': (5,), 'hair': (5,)})
    """
    if n_train < FEWEST:
        raise PolytaskError(f"faces needs at least {FEWEST} training pictures, got n_train={n_train}")
    if not isinstance(size, int) or size < SMALLEST:
        raise PolytaskError(f"size must be a whole number of at least {SMALLEST} pixels, got {size!r}")
    if not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise PolytaskError(f"seed must be a whole number from 0 to 2^64 - 1, got {seed!r}")
    counts = {"train": n_train, "validation": n_train // 8, "test": n_train // 4}
    splits = {
        split: _data(range(FIRST[split], FIRST[split] + count), seed, size, colour, augment and split == "train")
        for split, count in counts.items()
    }
    asked = {"n_train": n_train, "size": size, "colour": colour, "augment": augment, "seed": seed}
    return Problem(
        name="faces",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in TASKS),
        splits=splits,
        backbone=SmallCNN(3 if colour else 1, widths=(16, 32, 64, 128)),
        summary=f"Drawn faces of {size} x {size} pixels: five landmarks; pose, smile, glasses and hair help",
        source="drawn by polytask",
        licence="the same as polytask's (MIT)",
        suggested={"epochs": 20, "batch_size": 64, "learning_rate": 3e-3},
        spec={"name": "faces", "args": asked},
        notes=(
            "drawn faces: scores say nothing about photographs",
            "hair, short or long, stands in the place of MTFL's gender, which drawn faces do not have",
        ),
    )


def _data(numbers: range, seed: int, size: int, colour: bool, augment: bool) -> TensorData:
    """The faces of these numbers."""
    step = max(1, PIXELS // (size * size))
    keep_freed_memory()  # of a chunk, for the next one
    drawn = [render(seed, numbers[start : start + step], size, colour) for start in range(0, len(numbers), step)]
    targets = {task.name: np.concatenate([getattr(part, task.name) for part in drawn]) for task in TASKS}
    images = np.concatenate([part.image for part in drawn])
    held = {name: torch.from_numpy(target) for name, target in targets.items()}
    return TensorData(torch.from_numpy(images), held, bytes_to_floats, AUGMENTATION if augment else None)
