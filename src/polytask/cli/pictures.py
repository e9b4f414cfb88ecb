"""A network's predictions for a folder of pictures: maps as PNG files, all else as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from PIL import Image
from torch import Tensor

from polytask.cli.saved import SavedRun
from polytask.cli.tables import flat, short
from polytask.cli.text import file_name
from polytask.data.images import read_image, resized
from polytask.data.tables.schema import PICTURES
from polytask.errors import PolytaskError
from polytask.sharing.heads import resize
from polytask.tasks import Dense

AT_ONCE = 16


@dataclass(frozen=True)
class Predicted:
    """What was predicted for a folder of pictures.

    Args:
        done: how many pictures.
        skipped: why a picture was not read, by file name.
        resized: how many had another size than the network was trained on.
        written: the folders and files that were written.
    """

    done: int
    skipped: dict[str, str]
    resized: int
    written: tuple[Path, ...]


@torch.no_grad()
def predict_folder(saved: SavedRun, folder: Path, out: Path) -> Predicted:
    """Predict every picture in a folder, and write `out/<task>/<picture>.png` with what `Dense.raster` says (class
    numbers, millimetres, ...), `out/<task> as seen/<picture>.png` in colours, and `out/predictions.csv` for tasks that
    are no maps.

    A picture of another size than the network was trained on is resized for it, and its maps are resized back. One
    that can't be read is left out and told.

    Raises:
        PolytaskError: the network reads no images, or images that were scaled otherwise than to 0..1; the folder holds
            none that can be read; or `out` is the folder.
    """
    form = saved.form.images
    if form is None:
        raise PolytaskError(
            f"{saved.folder} was trained on {saved.job['problem']}, whose inputs are no images; give predict a table"
        )
    if not saved.form.of_pixels:
        low, high = saved.form.ranges[""]
        raise PolytaskError(
            f"{saved.folder} was trained on images with numbers from {low:g} to {high:g}, and predict gives pixels "
            "as 0 to 1: it can't know how they were scaled. Scale within the network, or predict from Python"
        )
    if out.resolve() == folder.resolve():
        raise PolytaskError(f"--out: {out} is the folder of pictures; give another one")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise PolytaskError(f"{folder} holds no file that ends in {', '.join(PICTURES)}")
    skipped: dict[str, str] = {}
    rows: list[dict[str, object]] = []
    others = 0
    for read, pictures in _in_batches(paths, form[0], skipped):
        found = saved.model(torch.cat([resized(each, form[1:]) for each in pictures]))
        others += sum(each.shape[-2:] != form[1:] for each in pictures)
        for k, (path, picture) in enumerate(zip(read, pictures, strict=True)):
            one = {name: prediction[k : k + 1] for name, prediction in found.items()}
            _write_maps(saved, one, f"{path.stem if _alone(path, paths) else path.name}.png", picture.shape[-2:], out)
            told = [task.columns(one[task.name]) for task in saved.tasks if not task.dense]
            rows.append({"file": path.name} | {name: values[0] for each in told for name, values in each.items()})
    if not rows:
        raise PolytaskError(
            f"none of the {len(paths)} pictures in {folder} can be read: {next(iter(skipped.values()))}"
        )
    maps = [task for task in saved.tasks if task.dense]
    written = [path for task in maps for path in _places(out, task.name)]
    if len(maps) < len(saved.tasks):
        out.mkdir(parents=True, exist_ok=True)
        table = pl.DataFrame(rows)
        flat(short(table, table.columns)).write_csv(out / "predictions.csv")
        written.append(out / "predictions.csv")
    return Predicted(len(rows), skipped, others, tuple(written))


def _in_batches(
    paths: Sequence[Path], channels: int, skipped: dict[str, str]
) -> Iterator[tuple[list[Path], list[Tensor]]]:
    """Paths, and pictures [1, channels, h, w] in 0..1, some at a time; those that can't be read go to `skipped`."""
    read: list[Path] = []
    pictures: list[Tensor] = []
    for path in paths:
        try:
            array = read_image(path, "L" if channels == 1 else "RGB")
        except PolytaskError as error:
            skipped[path.name] = str(error)
            continue
        pixels = torch.from_numpy(np.array(array)).float() / 255
        pictures.append(pixels[None, None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)[None])
        read.append(path)
        if len(read) == AT_ONCE:
            yield read, pictures
            read, pictures = [], []
    if read:
        yield read, pictures


def _alone(path: Path, paths: Sequence[Path]) -> bool:
    """Whether no other picture has the same name but for its ending."""
    return sum(each.stem == path.stem for each in paths) == 1


def _places(out: Path, task: str) -> tuple[Path, Path]:
    """The folders of a task's maps, and of its maps in colours."""
    return out / file_name(task), out / f"{file_name(task)} as seen"


def _write_maps(saved: SavedRun, found: dict[str, Tensor], file: str, size: torch.Size, out: Path) -> None:
    """The maps of one picture, in its own size."""
    for task in saved.tasks:
        if not isinstance(task, Dense):
            continue
        prediction = resize(found[task.name], size)
        for place, shown in zip(
            _places(out, task.name), (task.raster(prediction), task.picture(prediction)), strict=True
        ):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown[0].numpy()).save(place / file)
