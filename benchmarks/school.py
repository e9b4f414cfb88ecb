"""Linear baselines of the problem `school` in closed form: what networks have to beat.

    python benchmarks/school.py --data-root DATA

Ridge regression of the exam scores on the 27 inputs: one for all schools, one per school, and one per school of what
the one for all (of strength 10) leaves over. Strengths are chosen on validation data, the same for all schools. Root
mean squared error in points, averaged over the schools. Compare with

    polytask compare school --data-root DATA --sharing HardSharing Pooled
    polytask compare school --data-root DATA --sharing HardSharing Pooled --backbone "Bare(TableInputs(numbers=27))"
"""

import argparse
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import Ridge

from polytask import problems

STRENGTHS = (0.01, 0.1, 1, 3, 10, 30, 100, 300, 1000, 3000)
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Inputs, scores, schools."""


def pooled(strength: float, train: Columns, other: Columns) -> np.ndarray:
    return Ridge(alpha=strength).fit(train[0], train[1]).predict(other[0])


def own(strength: float, train: Columns, other: Columns) -> np.ndarray:
    predicted = np.zeros(len(other[1]))
    for school in np.unique(train[2]):
        here, there = train[2] == school, other[2] == school
        predicted[there] = Ridge(alpha=strength).fit(train[0][here], train[1][here]).predict(other[0][there])
    return predicted


def both(strength: float, train: Columns, other: Columns) -> np.ndarray:
    left = train[1] - pooled(10, train, train)
    return pooled(10, train, other) + own(strength, (train[0], left, train[2]), other)


def error(predicted: np.ndarray, known: Columns) -> float:
    squares = (predicted - known[1]) ** 2
    return float(np.mean([squares[known[2] == school].mean() ** 0.5 for school in np.unique(known[2])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    splits = problems.school(parser.parse_args().data_root).splits
    columns: dict[str, Columns] = {
        name: (data.inputs["numbers"].numpy(), data.targets["score"][:, 0].numpy(), data.inputs["school"].numpy())
        for name, data in splits.items()
    }
    ways: dict[str, Callable[[float, Columns, Columns], np.ndarray]] = {
        "one for all schools": pooled,
        "one per school": own,
        "one for all, and one per school for the rest": both,
    }
    print("| ridge regression | test error | strength |\n| --- | ---: | ---: |")
    for name, way in ways.items():
        train, validation = columns["train"], columns["validation"]
        strength = min(STRENGTHS, key=lambda each: error(way(each, train, validation), validation))
        print(f"| {name} | {error(way(strength, train, columns['test']), columns['test']):.2f} | {strength:g} |")


if __name__ == "__main__":
    main()
