"""The pictures of a study side by side: inputs, targets, and what the networks of every arm say.

    python docs/study_sheet.py results/rooms [--out docs/_static/rooms_predictions.png] [--rows 0 2]

Reads the pictures that the records of the study's first seed hold. Needs Pillow.
"""

import argparse
import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, HEAD, LEFT = 128, 4, 22, 22
Found = dict[str, dict[str, list[str | None]]]


def told(records: Sequence[Mapping[str, Any]]) -> tuple[list[str | None], Found, Found]:
    """Inputs; by task the targets and every arm's predictions, by title; as data URIs, one for each sample."""
    shown = [record for record in records if record.get("examples")]
    targets: Found = {}
    predictions: Found = {}
    for record in shown:
        arm = str(record["arm"]).removesuffix(" + Equal")
        for task, pictures in record["examples"]["tasks"].items():
            targets.setdefault(task, {})["target"] = pictures["target"]
            predictions.setdefault(task, {})[arm] = pictures["prediction"]
    return shown[0]["examples"]["inputs"], targets, predictions


def picture(uri: str | None) -> Image.Image:
    """The picture of a data URI."""
    if uri is None:
        return Image.new("RGB", (SIDE, SIDE), "white")
    found = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    return found.resize((SIDE, round(SIDE * found.height / found.width)), Image.Resampling.NEAREST)


def sheet(records: Sequence[Mapping[str, Any]], rows: Sequence[int]) -> Image.Image:
    """A block for each sample: a row for each task, with the input before the first."""
    inputs, targets, predictions = told(records)
    arms = list(next(iter(predictions.values())))
    titles = ["input", "target", *arms]
    height = picture(inputs[rows[0]]).height
    lines = [(row, task) for row in rows for task in predictions]
    page = Image.new("RGB", (LEFT + len(titles) * (SIDE + GAP), HEAD + len(lines) * (height + GAP)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column, title in enumerate(titles):
        draw.text((LEFT + column * (SIDE + GAP) + SIDE / 2, HEAD / 2), title, "black", font, anchor="mm")
    for line, (row, task) in enumerate(lines):
        top = HEAD + line * (height + GAP)
        first = inputs[row] if task == next(iter(predictions)) else None
        found = [first, targets[task]["target"][row], *(predictions[task][arm][row] for arm in arms)]
        for column, uri in enumerate(found):
            page.paste(picture(uri), (LEFT + column * (SIDE + GAP), top))
        name = Image.new("RGB", (height, LEFT), "white")
        ImageDraw.Draw(name).text((height / 2, LEFT / 2), task, "black", font, anchor="mm")
        page.paste(name.rotate(90, expand=True), (0, top))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder of a study")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "_static" / "rooms_predictions.png")
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 2])
    asked = parser.parse_args()
    records = [json.loads(line) for line in (asked.study / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    sheet(records, asked.rows).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
