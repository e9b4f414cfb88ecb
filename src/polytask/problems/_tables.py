"""From a prepared table to a problem: the default trunk and budget, by the size of the table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from polytask.data.tables import PreparedTable
from polytask.problems._trunks import trunk_for
from polytask.problems.problem import Problem
from polytask.tasks import Task


def table_problem(
    prepared: PreparedTable,
    tasks: tuple[Task, ...] | None = None,
    trunk: str | Mapping[str, Any] | None = None,
    trunk_at: str = "",
    **facts: Any,
) -> Problem:
    """A problem with the trunk that suits the table, or the one said (at `trunk_at`); `facts` go to `Problem`."""
    preprocessing = prepared.preprocessing
    facts["notes"] = (*facts.get("notes", ()), *prepared.notes)
    rows = len(prepared.splits["train"])
    return Problem(
        tasks=tasks or prepared.tasks,
        splits=prepared.splits,
        backbone=trunk_for(preprocessing, rows, trunk, trunk_at),
        suggested=suggested_budget(rows),
        preprocessing=preprocessing,
        schema=prepared.schema,
        **facts,
    )


def suggested_budget(rows: int) -> Mapping[str, Any]:
    """About 2000 steps, in batches that grow with the table; 8 to 60 epochs.

    >>> suggested_budget(30_000)
    {'epochs': 34, 'batch_size': 512, 'learning_rate': 0.001}
    """
    batch_size = 32 if rows < 2_000 else 128 if rows < 20_000 else 512
    return {
        "epochs": min(max(2000 * batch_size // rows, 8), 60),
        "batch_size": batch_size,
        "learning_rate": 1e-3,
    }


def coded_frame(file: Mapping[str, "np.ndarray"]) -> pl.DataFrame:
    """A table from arrays: `num` [n, f] with `num_names`, and codes `cat` [n, c] with `cat_names` and `cat_vocab`."""
    columns = [pl.Series(str(name), file["num"][:, k]) for k, name in enumerate(file["num_names"])]
    codes = file["cat"]
    for k, (name, words) in enumerate(zip(file["cat_names"], file["cat_vocab"], strict=True)):
        columns.append(pl.Series(str(name), str(words).split("\n")).gather(pl.Series(codes[:, k])))
    return pl.DataFrame(columns)
