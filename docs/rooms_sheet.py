"""The picture of the problem `rooms` in the manual: some of its scenes, and what is known about every pixel.

    python docs/rooms_sheet.py [--out docs/_static/rooms.png] [--scenes 6 8 13 17 22 33]

Needs Pillow.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from polytask import problems
from polytask.problems import Problem
from polytask.tasks import Segmentation, class_colours

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SIZE = (144, 192)
TASKS = ("segmentation", "depth", "normals", "edges")
GAP, HEAD, KEY = 4, 22, 26  # pixels between pictures, above and below them


def sheet(scenes: Sequence[int]) -> Image.Image:
    """A row for each of these scenes of seed 0: the picture and its targets."""
    problem, count = problems.rooms(n_train=max(40, max(scenes) + 1), size=SIZE, tasks=TASKS), len(scenes)
    columns = pictures(problem, scenes)
    height, width = SIZE
    page = Image.new("RGB", (len(columns) * (width + GAP) + GAP, HEAD + count * (height + GAP) + KEY), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column, (name, shown) in enumerate(columns.items()):
        left = GAP + column * (width + GAP)
        draw.text((left + width / 2, HEAD / 2), name, "black", font, anchor="mm")
        for row, picture in enumerate(shown):
            page.paste(Image.fromarray(picture.numpy()), (left, HEAD + row * (height + GAP)))
    key(draw, font, problem, page.height - KEY / 2, page.width)
    return page


def pictures(problem: Problem, rows: Sequence[int]) -> dict[str, Tensor]:
    """Pictures uint8 [n, h, w, 3] by title."""
    data, index = problem.splits["train"], torch.tensor(rows)
    assert isinstance(data.inputs, Tensor)
    shown = {"picture": data.inputs[index].permute(0, 2, 3, 1)}
    for task in problem.tasks:
        shown[task.name] = task.target_picture(data.targets[task.name][index])
    return shown


def key(draw: ImageDraw.ImageDraw, font: Font, problem: Problem, y: float, width: int) -> None:
    """The colours of the classes, in one line."""
    classes = next(task for task in problem.tasks if isinstance(task, Segmentation)).labels
    step = (width - 2 * GAP) / len(classes)
    for number, (name, colour) in enumerate(zip(classes, class_colours(len(classes)).tolist(), strict=True)):
        left = GAP + number * step
        draw.rectangle((left, y - 6, left + 12, y + 6), tuple(colour))
        draw.text((left + 17, y), name, "black", font, anchor="lm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "_static" / "rooms.png")
    parser.add_argument("--scenes", type=int, nargs="+", default=[6, 8, 13, 17, 22, 33])
    asked = parser.parse_args()
    sheet(asked.scenes).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
