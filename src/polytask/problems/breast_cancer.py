"""Wisconsin breast cancer: diagnosis and the worst cells, from the average cell."""

import polars as pl
from sklearn.datasets import load_breast_cancer

from polytask.data.tables import prepare
from polytask.problems._tables import table_problem
from polytask.problems.problem import Problem

WORST = ("worst texture", "worst smoothness", "worst symmetry")


def breast_cancer(seed: int = 0) -> Problem:
    """From the average cell nucleus in a biopsy picture, tell the diagnosis and what the worst nuclei look
    like.

    * Input: 10 numbers, the mean over all nuclei in the picture of radius, texture, perimeter, area,
      smoothness, compactness, concavity, concave points, symmetry, fractal dimension. The "worst" values of
      the data set (mean of the three largest) and the standard errors are not inputs.
    * Tasks: `malignant` (binary, 37 % yes), and `worst texture`, `worst smoothness`, `worst symmetry`
      (regression): three worst values that the means do not nearly determine (ridge regression: R2 about
      0.8, 0.6, 0.4). Measurements that say something about the diagnosis but are not needed to predict it
      are the classical use of extra tasks (Caruana 1997, section 2.1).
    * Size: 569 patients.
    * Split: 60 / 20 / 20 % by `seed`.
    * Source: Breast Cancer Wisconsin (Diagnostic) (Wolberg, Mangasarian, Street, Street 1993, UCI), as
      shipped with scikit-learn. Licence: CC BY 4.0.

    A small and easy table, for a first try in seconds: a logistic regression has AUROC 0.985, so expect small
    differences, and look at their intervals.

    Args:
        seed: draws the split.

    >>> problem = breast_cancer()
    >>> [task.name for task in problem.tasks]
    ['malignant', 'worst texture', 'worst smoothness', 'worst symmetry']
    """
    bunch = load_breast_cancer()
    columns = dict(zip(map(str, bunch.feature_names), bunch.data.T, strict=True))
    inputs = {name: values for name, values in columns.items() if name.startswith("mean ")}
    diagnosis = ["yes" if kind == 0 else "no" for kind in bunch.target]  # scikit-learn: 0 malignant, 1 benign
    frame = pl.DataFrame({**inputs, "malignant": diagnosis, **{name: columns[name] for name in WORST}})
    prepared = prepare(
        frame,
        ["malignant:binary", *(f"{name}:regression" for name in WORST)],
        seed=seed,
        fractions={"train": 0.6, "validation": 0.2, "test": 0.2},
    )
    return table_problem(
        prepared,
        name="breast_cancer",
        summary="Diagnosis and three measures of the worst cell nuclei, from the average nucleus of a biopsy",
        source="Breast Cancer Wisconsin (Diagnostic) (Wolberg 1993; UCI), as shipped with scikit-learn",
        licence="CC BY 4.0",
        spec={"name": "breast_cancer", "args": {"seed": seed}},
        notes=("569 patients, 114 in the test split: one patient more or less is 0.9 points of accuracy",),
    )
