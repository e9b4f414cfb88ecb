"""UCI Adult: income, hours of work and marital status of 48,842 people."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from polytask.data.tables import CATEGORY, DROP, Overrides, mark_missing, prepare
from polytask.problems._files import data_file
from polytask.problems._tables import coded_frame, table_problem
from polytask.problems.problem import Problem

FILE = "adult/adult.npz"
NO_FEATURES = ("fnlwgt", "education")
PROXIES = ("relationship",)


def adult(data_root: Path, seed: int = 0, keep_proxies: bool = False) -> Problem:
    """Income, hours of work and marital status of US adults, from the other answers of the census of 1994.

    * Input: age, years of education, capital gain and loss (numbers); work class, occupation, race, sex,
      native country (categories). Not inputs: the three targets; `fnlwgt`, a sampling weight; `education`,
      which says the same as the years; and `relationship` (husband, wife, own child), which gives marital
      status away.
    * Tasks: `income_50k` (binary), `hours_per_week` (regression, hours), `marital_status` (7 classes).
    * Size: 32,561 rows for training and validation, 16,281 for test. 15 % of the training rows validate.
    * Split: the official test rows; validation rows are drawn from the official training rows, rows with the
      same inputs together.
    * Source: UCI Adult (B. Becker, R. Kohavi 1996), file `adult/adult.npz`. Licence: CC BY 4.0 at UCI; none
      is stated with the file.

    Args:
        data_root: the folder that holds `adult/adult.npz`.
        seed: draws the validation rows.
        keep_proxies: keep `relationship` as an input, as most published tables do.

    Raises:
        PolytaskError: the file is not there.
    """
    with np.load(data_file(data_root, FILE)) as file:
        categories = dict.fromkeys(map(str, file["cat_names"]), CATEGORY)
        frame = coded_frame(file).with_columns(
            pl.Series("income_50k", np.array(["<=50K", ">50K"])[file["income_50k"]]),
            pl.Series("official_split", np.array(["train", "test"])[file["is_test"]]),
        )
    dropped = NO_FEATURES + (() if keep_proxies else PROXIES)
    prepared = prepare(
        mark_missing(frame),
        ["income_50k:binary", "hours_per_week:regression", "marital_status:multiclass"],
        Overrides(columns=categories | dict.fromkeys(dropped, DROP), split="official_split"),
        seed,
    )
    hours = {"hours_per_week": "h"}
    tasks = tuple(replace(task, unit=hours.get(task.name, "")) for task in prepared.tasks)
    return table_problem(
        prepared,
        tasks,
        name="adult",
        summary="Income above 50,000 $, hours of work and marital status of US adults, from the 1994 census",
        source="UCI Adult (Becker, Kohavi 1996)",
        licence="CC BY 4.0 (UCI); none stated with the file",
        spec={
            "name": "adult",
            "args": {"data_root": str(data_root), "seed": seed, "keep_proxies": keep_proxies},
        },
        notes=(
            "'relationship' (husband, wife) gives marital status away; it is "
            + ("an input here" if keep_proxies else "not an input, so scores are below published ones"),
            "the official test rows are kept; some have the same inputs as a training row, as in all published tables",
        ),
    )
