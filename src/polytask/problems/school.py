"""Exam scores in 139 schools: the classic data of many small tasks."""

from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from polytask.data import Sources, TensorData
from polytask.errors import PolytaskError
from polytask.problems._files import data_file, read_archive
from polytask.problems.problem import SPLITS, Problem
from polytask.sharing import MLP, TableInputs
from polytask.tasks import ManyRegression, of_members

FILE = "school/school.npz"
BIAS = 27
"""The column that is 1 in every row."""


def school(data_root: Path, seed: int = 0) -> Problem:
    """Exam scores of students of 139 schools in London, from the student and the school: each school is a task.

    * Input: 27 numbers, standardised by the training rows: year (3), share of students who get free meals, share of
      students in the highest band of verbal reasoning (both in percent, of the school in that year), and as yes or no
      gender, band of verbal reasoning (3), ethnic group (11), kind of school (gender 3, denomination 3); and `school`,
      the number of the row's school, which the trunk does not read.
    * Task: `score`, 1 to 70 points, with the schools as members (`tasks.ManyRegression`).
    * Size: 15,362 students; 22 to 251 in a school.
    * Split: ours, 70 / 15 / 15 % within every school by `seed`, so that all schools are in all splits. Published
      figures are of other splits, mostly of the share of variance explained.
    * Source: Inner London Education Authority, examinations 1985 to 1987 (H. Goldstein 1991, "Multilevel modelling of
      survey data", The Statistician 40; that article was not read), as the file `data/school.mat` of MALSAR
      (J. Zhou). Licence: none stated for the data; MALSAR is GPL-2.

    Samplers draw from the schools (`TensorData.sources`).

    Inputs that are the same for all students of a school and a year (meals, bands, kind of school) can tell schools
    apart to a network that pools them, but hardly anything within one school.

    Args:
        data_root: the folder that holds `school/school.npz`.
        seed: draws the split.

    Raises:
        PolytaskError: the file is not there, or not whole.

    Cost: milliseconds.
    """
    path = data_file(data_root, FILE)
    file = read_archive(path, "x", "y", "task")
    x, y = torch.from_numpy(file["x"].astype(np.float32)), torch.from_numpy(file["y"].astype(np.float32))
    if x.ndim != 2 or x.shape[1] != BIAS + 1 or {len(y), len(file["task"])} != {len(x)}:
        raise PolytaskError(f"{path} does not hold the school data: expected x [n, 28], y [n] and task [n]")
    owner = torch.from_numpy(file["task"].astype(np.int64))
    rows = within(owner, seed)
    numbers = x[:, :BIAS]
    mean, deviation = numbers[rows["train"]].mean(0), numbers[rows["train"]].std(0, correction=0).clamp(min=1e-6)
    numbers = (numbers - mean) / deviation
    names = tuple(f"school {number + 1}" for number in range(int(owner.max()) + 1))
    splits = {name: _data(numbers[which], y[which], owner[which], names) for name, which in rows.items()}
    task = ManyRegression("score", names, "school", unit="points")
    return Problem(
        name="school",
        tasks=(task.fitted(splits["train"].targets["score"]),),
        splits=splits,
        backbone=MLP(TableInputs(numbers=BIAS), widths=(64, 64)),
        summary="Exam scores of students in 139 schools; each school is a task",
        source="Inner London Education Authority 1985 to 1987 (Goldstein 1991), as in MALSAR",
        licence="none stated for the data; MALSAR, which they were taken from, is GPL-2",
        suggested={"epochs": 30, "batch_size": 128, "learning_rate": 1e-3},
        spec={"name": "school", "args": {"data_root": str(data_root), "seed": seed}},
        notes=(
            "the split is our own, within every school: scores are not those of published tables",
            "inputs are coarse, so many students have the same: that is no leak, their scores differ",
        ),
    )


def within(owner: Tensor, seed: int) -> dict[str, Tensor]:
    """Rows of each split: 70, 15 and 15 % of every member's.

    >>> {name: len(rows) for name, rows in within(torch.arange(5).repeat_interleave(20), seed=0).items()}
    {'train': 70, 'validation': 15, 'test': 15}
    """
    every, own = np.arange(len(owner)), owner.numpy()
    size = round(0.15 * len(own))
    rest, test = train_test_split(every, test_size=size, stratify=own, random_state=seed)
    train, validation = train_test_split(rest, test_size=size, stratify=own[rest], random_state=seed)
    return dict(zip(SPLITS, (torch.from_numpy(np.sort(each)) for each in (train, validation, test)), strict=True))


def _data(numbers: Tensor, score: Tensor, owner: Tensor, names: tuple[str, ...]) -> TensorData:
    inputs = {"numbers": numbers, "categories": torch.zeros(len(numbers), 0, dtype=torch.int32), "school": owner.int()}
    return TensorData(inputs, {"score": of_members(score, owner)}, sources=Sources(names, owner))
