"""The picture of the problem `faces` in the manual: some of its faces, large and as networks see them.

    python docs/faces_sheet.py [--out docs/_static/faces.png] [--rows 3] [--seed 0]

Needs Pillow.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from polytask import problems
from polytask.problems import Problem

COLUMNS = 6  # faces in a row
LARGE, SMALL, SIDE, GAP = 120, 40, 46, 4  # sizes and distances in pixels


def sheet(rows: int, seed: int) -> Image.Image:
    """In every row large faces in colour with their landmarks, and the same as networks see them."""
    count = rows * COLUMNS
    large = problems.faces(max(40, count), LARGE, colour=True, seed=seed)
    small = problems.faces(max(40, count), SMALL, seed=seed)
    colour, grey = pictures(large, count, dots=True), pictures(small, count, dots=False)
    page = Image.new("RGB", (COLUMNS * (LARGE + SIDE + 2 * GAP) + GAP, rows * (LARGE + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(10)
    for k in range(count):
        left, top = GAP + k % COLUMNS * (LARGE + SIDE + 2 * GAP), GAP + k // COLUMNS * (LARGE + GAP)
        page.paste(Image.fromarray(colour[k]), (left, top))
        page.paste(Image.fromarray(grey[k]), (left + LARGE + GAP, top))
        for line, text in enumerate(told(large, k)):
            draw.text((left + LARGE + GAP, top + SMALL + GAP + 11 * line), text, "black", font)
    return page.quantize(256)


def pictures(problem: Problem, count: int, dots: bool) -> np.ndarray:
    """Training pictures, uint8 [n, h, w, 3], perhaps with their landmarks."""
    data = problem.splits["train"].gather(torch.arange(count))
    images = data.inputs
    assert isinstance(images, Tensor)
    if dots:
        return problem.task("landmarks").target_picture(data.targets["landmarks"], images).numpy()
    return (images * 255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def told(problem: Problem, row: int) -> list[str]:
    """The other labels of a face, in words."""
    targets = problem.splits["train"].targets
    pose = problem.task("pose").class_names[int(targets["pose"][row])].split(" ")
    worn = [name for name in ("smile", "glasses") if targets[name][row]]
    return [*pose, *worn, ("short hair", "long hair")[int(targets["hair"][row])]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "_static" / "faces.png")
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sheet(asked.rows, asked.seed).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
