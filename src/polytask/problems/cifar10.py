"""CIFAR-10 without its colours: name the thing, colour it, find its edges, draw it again."""

from pathlib import Path

import torch
from torch import Tensor

from polytask.data import Augmentation, LabelMap, RandomFlip, TensorData, ValueMap
from polytask.problems._colour_edges import STRONG, colour_edges
from polytask.problems._files import data_file
from polytask.problems._labelled_pictures import JpegArchive, Pictures, parts, read_names, read_records
from polytask.problems.multi_mnist import bytes_to_floats
from polytask.problems.problem import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import Binary, Edges, MultiClass, Reconstruction, Task

GREY = (0.299, 0.587, 0.114)
ANIMALS = frozenset({"bird", "cat", "deer", "dog", "frog", "horse"})
FLIP = Augmentation((RandomFlip(),), {"colour": ValueMap(), "edges": LabelMap(), "autoencoding": ValueMap()})
AT_ONCE = 512


def cifar10(
    data_root: Path, n_train: int | None = None, superclass: bool = False, augment: bool = True, seed: int = 0
) -> Problem:
    """Small grey photographs: name the thing, colour the picture, find its edges, draw it again.

    * Input: 1 x 32 x 32 grey pixels, 0.299 R + 0.587 G + 0.114 B rounded to bytes, given to the network as 0..1.
    * Tasks: `class`, 10 of them; `colour`, the RGB picture; `edges`, where the colours change by more than 0.1 from
      one pixel to the next, one pixel wide (Sobel's slope of the steepest channel, thinned: 15 % of the pixels);
      `autoencoding`, the grey picture itself. With `superclass` also `animal`: yes for bird, cat, deer, dog, frog and
      horse, no for vehicles.
    * Size: 45,000 training, 5,000 validation, 10,000 test pictures.
    * Split: the official test pictures; validation is drawn by `seed` from the official training pictures.
    * Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images. Licence: none stated with the
      files.

    Read from `data_root` is what is found there: `cifar-10-batches-bin/`, the official binary version; or
    `cifar10/train.npz` and `test.npz`, archives of JPEG pictures (lossy: scores are not those of published tables).

    Edges and autoencoding are local functions of the input (edges nearly so: they look at colours), easy beside the
    class and the colours: four tasks of very different difficulty and scale.

    Args:
        data_root: the folder that holds the files.
        n_train: number of training pictures, by default all; of validation and test pictures there are at most half as
            many.
        superclass: add the task `animal`.
        augment: mirror half of the training pictures in every step.
        seed: draws the validation pictures, and which are trained on.

    Raises:
        PolytaskError: the files are not there, or broken.

    Cost: 10 kB of memory a picture (colours and grey in 16 bits, which round them by 1/16 of a grey level at most), 610
    MB for all; 0.2 ms a picture to decode and find the edges.

    The default trunk with hard sharing, trained on 8,000 pictures for 6 epochs, scores accuracy 0.48, 20 dB in colour,
    ODS F 0.54 and 24 dB in autoencoding on test pictures; the best constants 0.10, 12 dB, 0.26 and 12 dB.
    """
    train, test, names, notes = _pictures(Path(data_root))
    animals = torch.tensor([name in ANIMALS for name in names]) if superclass else None
    splits = {
        name: _data(pictures, rows, animals, FLIP if augment and name == "train" else None)
        for name, (pictures, rows) in parts(train, test, n_train, 5_000, seed).items()
    }
    tasks: list[Task] = [
        MultiClass("class", names),
        Reconstruction("colour"),
        Edges("edges"),
        Reconstruction("autoencoding", channels=1),
        *([Binary("animal")] if superclass else []),
    ]
    asked = {"n_train": n_train, "superclass": superclass, "augment": augment, "seed": seed}
    return Problem(
        name="cifar10",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in tasks),
        splits=splits,
        backbone=SmallCNN(channels=1, widths=(32, 64, 128)),
        summary="Grey photographs of 32 x 32 pixels: name the thing, colour it, find its edges, draw it again",
        source="CIFAR-10 (Krizhevsky 2009)",
        licence="none stated with the files",
        suggested={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3},
        spec={"name": "cifar10", "args": {"data_root": str(data_root), **asked}},
        notes=(
            *notes,
            f"edges are made from the colours (slopes above {STRONG:g}); autoencoding is the input itself",
        ),
    )


def _pictures(root: Path) -> tuple[Pictures, Pictures, tuple[str, ...], tuple[str, ...]]:
    """Training and test pictures, the names of the classes, and what a reader of results must know."""
    folder = root / "cifar-10-batches-bin"
    if folder.is_dir():
        train = read_records([folder / f"data_batch_{k}.bin" for k in range(1, 6)], "label")
        return train, read_records([folder / "test_batch.bin"], "label"), read_names(folder / "batches.meta.txt"), ()
    archive, test = (JpegArchive(data_file(root, f"cifar10/{part}.npz")) for part in ("train", "test"))
    return archive, test, archive.names, ("pictures were stored as JPEG: scores are not those of published tables",)


def _data(pictures: Pictures, rows: Tensor, animals: Tensor | None, augment: Augmentation | None) -> TensorData:
    grey = torch.empty(len(rows), 1, 32, 32, dtype=torch.uint8)
    colour = torch.empty(len(rows), 3, 32, 32, dtype=torch.float16)
    edges = torch.empty(len(rows), 32, 32, dtype=torch.int8)
    labels = torch.empty(len(rows), dtype=torch.long)
    for first in range(0, len(rows), AT_ONCE):
        these = slice(first, first + AT_ONCE)
        found = pictures.read(rows[these])
        images = found.images.float()
        grey[these] = torch.einsum("nchw,c->nhw", images, torch.tensor(GREY)).round().to(torch.uint8)[:, None]
        colour[these], edges[these] = (images / 255).half(), colour_edges(images / 255).to(torch.int8)
        labels[these] = found.labels["label"]
    targets = {"class": labels, "colour": colour, "edges": edges, "autoencoding": (grey.float() / 255).half()}
    if animals is not None:
        targets["animal"] = animals[labels].long()
    return TensorData(grey, targets, bytes_to_floats, augment)
