"""Pictures with a fine and a coarse label: two tasks, or one for every coarse class."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.data import Augmentation, RandomFlip, TensorData
from polytask.errors import PolytaskError
from polytask.problems._files import data_file, read_archive
from polytask.problems._labelled_pictures import InMemory, parts, read_names, read_records
from polytask.problems._nested import members, own_classes
from polytask.problems.multi_mnist import bytes_to_floats
from polytask.problems.problem import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import MultiClass

MIRRORED = Augmentation((RandomFlip(),))
CIFAR = "cifar-100-binary"
ARRAYS = ("images", "fine", "coarse")
Targets = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def superclasses(
    path: Path, apart: bool = False, n_train: int | None = None, augment: bool = True, seed: int = 0
) -> Problem:
    """Pictures of your own with two labels each: the class, and the class of classes that it is of.

    * Input: the pictures, held as bytes and given to the network as 0..1.
    * Tasks: `fine` and `coarse`; or with `apart` one task for every coarse class, named after it: which of its fine
      classes? There a picture has a label for one task only.
    * Size: what is in the file; validation is a tenth of the training pictures, 5,000 at most.
    * Split: test as given; validation is drawn by `seed` from the training pictures.
    * Source: your own .npz file with images_train, images_test (uint8 [n, h, w] or [n, h, w, channels]), fine_train,
      fine_test, coarse_train, coarse_test (whole numbers from 0), and perhaps fine_names, coarse_names. No pickle is
      ever read.

    Args:
        path: the file.
        apart: one task for every coarse class, for which each fine class must be of one coarse class.
        n_train: number of training pictures, by default all; of validation and test pictures there are at most half as
            many.
        augment: mirror half of the training pictures in every step.
        seed: draws the validation pictures, and which are trained on.

    Raises:
        PolytaskError: the file is not there, broken, or not as above.
    """
    file = Path(path)
    entries = read_archive(data_file(file.parent, file.name), *(f"{a}_{b}" for a in ARRAYS for b in ("train", "test")))
    names = {kind: tuple(map(str, entries.get(f"{kind}_names", ()))) for kind in ("fine", "coarse")}
    train, test = (_from_arrays(file, entries, part) for part in ("train", "test"))
    return _problem(
        train, test, names, apart, n_train, augment, seed,
        name="superclasses",
        source=f"the user's own file {file.name}",
        licence="that of the file",
        spec={"name": "superclasses", "args": {"path": str(path)}},
    )  # fmt: skip


def cifar100(
    data_root: Path, apart: bool = False, n_train: int | None = None, augment: bool = True, seed: int = 0
) -> Problem:
    """Small photographs of 100 things in 20 groups: the thing, and the group.

    * Input: 3 x 32 x 32 pixels, held as bytes and given to the network as 0..1.
    * Tasks: `fine`, 100 classes, and `coarse`, 20; or with `apart` the 20 groups as tasks of 5 classes each, where a
      picture has a label for one task only.
    * Size: 45,000 training, 5,000 validation, 10,000 test pictures.
    * Split: the official test pictures; validation is drawn by `seed` from the official training pictures.
    * Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images: the binary version in
      `cifar-100-binary/` (train.bin, test.bin, coarse_label_names.txt, fine_label_names.txt). The version for Python
      is a pickle, which can run any code, and is not read. Licence: none stated with the files.

    The 20 tasks of 5 classes are those of Rosenbaum, Klinger, Riemer 2018, Routing Networks.

    Args:
        data_root: the folder that holds `cifar-100-binary`.
        apart, n_train, augment, seed: as in `superclasses`.

    Raises:
        PolytaskError: the files are not there, or broken.

    Cost: 3 kB of memory a picture, 185 MB for all.
    """
    folder = Path(data_root) / CIFAR
    for part in ("train", "test"):
        data_file(data_root, f"{CIFAR}/{part}.bin")
    train, test = (read_records([folder / f"{part}.bin"], "coarse", "fine") for part in ("train", "test"))
    names = {kind: read_names(folder / f"{kind}_label_names.txt") for kind in ("fine", "coarse")}
    return _problem(
        train, test, names, apart, n_train, augment, seed,
        name="cifar100",
        source="CIFAR-100 (Krizhevsky 2009), binary version",
        licence="none stated with the files",
        spec={"name": "cifar100", "args": {"data_root": str(data_root)}},
    )  # fmt: skip


def _from_arrays(file: Path, entries: Mapping[str, np.ndarray[Any, np.dtype[Any]]], part: str) -> InMemory:
    images, fine, coarse = (torch.from_numpy(entries[f"{each}_{part}"]) for each in ARRAYS)
    if images.dtype != torch.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise PolytaskError(
            f"images_{part} in {file} must be uint8 of shape [n, h, w] or [n, h, w, 1 or 3], got {images.dtype} "
            f"{list(images.shape)}"
        )
    for name, labels in (("fine", fine), ("coarse", coarse)):
        if labels.shape != images.shape[:1] or labels.is_floating_point() or bool((labels < 0).any()):
            raise PolytaskError(
                f"{name}_{part} in {file} must be {len(images)} whole numbers from 0, one for each picture, got "
                f"{labels.dtype} {list(labels.shape)}"
            )
    pictures = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return InMemory(pictures.contiguous(), {"fine": fine.long(), "coarse": coarse.long()})


def _problem(
    train: InMemory,
    test: InMemory,
    names: Mapping[str, tuple[str, ...]],
    apart: bool,
    n_train: int | None,
    augment: bool,
    seed: int,
    **told: Any,
) -> Problem:
    named = {kind: _named(kind, names[kind], [train.labels[kind], test.labels[kind]]) for kind in ("fine", "coarse")}
    tasks, targets_of = _groups(train, test, named) if apart else _both(named)
    splits = {}
    for split, (pictures, rows) in parts(train, test, n_train, 5_000, seed).items():
        found = pictures.read(rows)
        mirrored = MIRRORED if augment and split == "train" else None
        splits[split] = TensorData(found.images, targets_of(found.labels), bytes_to_floats, mirrored)
    spec = told.pop("spec")
    asked = {"apart": apart, "n_train": n_train, "augment": augment, "seed": seed}
    return Problem(
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in tasks),
        splits=splits,
        backbone=SmallCNN(train.images.shape[1], widths=(32, 64, 128)),
        summary="Pictures with a fine and a coarse label: " + ("one task for each coarse class" * apart or "name both"),
        suggested={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3},
        spec=spec | {"args": spec["args"] | asked},
        notes=("validation is drawn from the training pictures",)
        + ("every picture has a label for one task only",) * apart,
        **told,
    )


def _named(kind: str, names: tuple[str, ...], labels: list[Tensor]) -> tuple[str, ...]:
    """The names of the classes; their numbers where none are given."""
    classes = 1 + max(int(each.max()) for each in labels)
    if names and len(names) < classes:
        raise PolytaskError(f"there are {classes} {kind} classes and {len(names)} names for them; give one for each")
    return names or tuple(map(str, range(classes)))


def _both(named: Mapping[str, tuple[str, ...]]) -> tuple[list[MultiClass], Targets]:
    """Two tasks, and what makes their targets from labels."""
    return [MultiClass(kind, names) for kind, names in named.items()], lambda labels: {
        kind: labels[kind] for kind in named
    }


def _groups(train: InMemory, test: InMemory, named: Mapping[str, tuple[str, ...]]) -> tuple[list[MultiClass], Targets]:
    """A task for every coarse class, and what makes their targets from labels."""
    fine, coarse = (torch.cat([each.labels[kind] for each in (train, test)]) for kind in ("fine", "coarse"))
    groups = {named["coarse"][group]: mine for group, mine in members(fine, coarse).items()}
    tasks = [MultiClass(name, tuple(named["fine"][each] for each in mine)) for name, mine in groups.items()]
    return tasks, lambda labels: {name: own_classes(labels["fine"], mine) for name, mine in groups.items()}
