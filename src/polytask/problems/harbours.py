"""Tides at harbours that are described by what a chart tells of them; drawn by us."""

from typing import Any

import numpy as np
import torch

from polytask.data import TensorData, mixture
from polytask.errors import PolytaskError
from polytask.problems.problem import Problem
from polytask.sharing import MLP
from polytask.tasks import Regression

MOON, SUN = 12.4206012, 12.0  # hours: periods of the constituents M2 and S2
AGE = 0.6  # radians: how far spring tide lags behind new moon
NOISE = 0.08  # metres
FEWEST = 20  # training rows


def harbours(count: int = 12, n_train: int = 100, seed: int = 0) -> Problem:
    r"""The level of the sea at several harbours, each with measurements of its own: one task and one data set each.

    level(t) = A cos(m - g) + s A cos(u - g - 0.6) + e w |w| - 0.01 p + noise, in metres, with the phases m of the
    moon's and u of the sun's tide, the wind w towards the shore (m/s) and the air's pressure p above its mean (hPa).

    * Input: 6 numbers: cosine and sine of m and u, w / 10 and p / 10.
    * Tasks: `harbour 1` to `harbour {count}`, regression, metres. Harbours differ in the range A (0.3 to 2.5 m), the
      delay g (any), the share s of the sun (0.2 to 0.4), and the shelter e (0.0005 to 0.004 m per (m/s)^2).
    * Descriptor of a task: what a chart tells: (A cos g, A sin g, 300 e), s is not told. So a network that is told can
      predict the tide at a harbour where nobody measured, but not exactly.
    * Size: `n_train` rows for every harbour, half as many for validation and twice as many for test.
    * Split: every row is a time of its own, drawn at random within 20 years.
    * Source: drawn here; periods of the constituents M2 and S2 and the inverse barometer (1 cm per hPa) as in any book
      on tides. Licence: that of polytask (MIT).

    Args:
        count: number of harbours, at least 2.
        n_train: training rows of each, at least 20.
        seed: draws the harbours and their rows.

    Raises:
        PolytaskError: too few harbours or rows.

    >>> problem = harbours(count=3, n_train=20)
    >>> len(problem.splits["train"]), problem.splits["train"].counts(), len(problem.tasks[0].descriptor)
    (60, {'harbour 1': 20, 'harbour 2': 20, 'harbour 3': 20}, 3)
    """
    if count < 2 or n_train < FEWEST:
        raise PolytaskError(
            f"harbours needs at least 2 harbours and {FEWEST} training rows of each, got count={count}, "
            f"n_train={n_train}"
        )
    random = np.random.Generator(np.random.Philox(seed))
    places = [_place(random) for _ in range(count)]
    names = [f"harbour {number + 1}" for number in range(count)]
    rows = {"train": n_train, "validation": n_train // 2, "test": 2 * n_train}
    splits = {
        split: mixture({name: _measured(random, name, place, n) for name, place in zip(names, places, strict=True)})
        for split, n in rows.items()
    }
    tasks = [
        Regression(name, unit="m", descriptor=_told(place)).fitted(splits["train"].targets[name])
        for name, place in zip(names, places, strict=True)
    ]
    return Problem(
        name="harbours",
        tasks=tuple(tasks),
        splits=splits,
        backbone=MLP(6, widths=(64, 64)),
        summary=f"The level of the sea at {count} harbours, each with measurements of its own",
        source="drawn by polytask",
        licence="the same as polytask's (MIT)",
        suggested={"epochs": 40, "batch_size": 64, "learning_rate": 3e-3},
        spec={"name": "harbours", "args": {"count": count, "n_train": n_train, "seed": seed}},
        notes=("drawn data: two constituents of the tide, where real harbours have dozens",),
    )


def _place(random: np.random.Generator) -> dict[str, float]:
    return {
        "range": random.uniform(0.3, 2.5),
        "delay": random.uniform(0, 2 * np.pi),
        "sun": random.uniform(0.2, 0.4),
        "shelter": random.uniform(0.0005, 0.004),
    }


def _told(place: dict[str, float]) -> tuple[float, ...]:
    """What a chart tells of a harbour."""
    high, delay = place["range"], place["delay"]
    return high * np.cos(delay), high * np.sin(delay), 300 * place["shelter"]


def _measured(random: np.random.Generator, name: str, place: dict[str, float], rows: int) -> TensorData:
    hours = random.uniform(0, 20 * 365.25 * 24, rows)
    moon, sun = 2 * np.pi * hours / MOON, 2 * np.pi * hours / SUN
    wind, pressure = random.normal(0, 8, rows), random.normal(0, 10, rows)
    high, delay = place["range"], place["delay"]
    tide = high * np.cos(moon - delay) + place["sun"] * high * np.cos(sun - delay - AGE)
    level = tide + place["shelter"] * wind * np.abs(wind) - 0.01 * pressure + random.normal(0, NOISE, rows)
    inputs = np.stack([np.cos(moon), np.sin(moon), np.cos(sun), np.sin(sun), wind / 10, pressure / 10], 1)
    return TensorData(_floats(inputs), {name: _floats(level)})


def _floats(values: Any) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
