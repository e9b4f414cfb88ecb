"""What is lost when half of the training labels are hidden: by networks for one task, and by one for all tasks.

    python benchmarks/half_labels.py adult "fdu_mtl(words=128)" --data-root DATA

Every problem is compared twice, with all training labels and with a share of each task's, drawn by itself
(`study.with_label_share`; rows that keep no label are left out): single-task networks and hard sharing, the same seeds
and, in more epochs where rows are left out, the same number of steps. A single-task network sees a label in every row
of its batches. A joint one sees those that its rows have: where rows had the labels of all tasks and half are hidden,
it is shown about half as many labels in as many steps, so that what it loses holds this as well.

Printed is the change of every main task's test scores in % of those with all labels (above 0: better), the mean over
its metrics and over the tasks, with paired intervals over the seeds that have all networks; and the difference of the
two changes, joint less apart.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polytask import study
from polytask.cli.catalogues import problem_named
from polytask.evaluation import Interval, gains, interval, task_gain
from polytask.problems import Problem
from polytask.training import Budget, directions

Scores = Mapping[int, Mapping[str, Mapping[str, float]]]
"""Test scores by seed, task and metric."""
SINGLE, JOINT = study.SINGLE_TASK, study.Arm().name


def scores(records: Sequence[Mapping[str, Any]], arm: str) -> Scores:
    """The test scores of the networks of an arm."""
    found: dict[int, dict[str, Mapping[str, float]]] = {}
    for record in records:
        if record["arm"] == arm and record["status"] == "finished":
            for task, told in record["scores"]["test"].items():
                told = {name: math.nan if value is None else value for name, value in told.items()}
                found.setdefault(record["seed"], {})[task] = told
    return found


def change(half: Scores, whole: Scores, problem: Problem, seeds: Sequence[int]) -> dict[str, list[float]]:
    """By main task, and under "all tasks" their mean: the change of every seed in %."""
    ways, main = directions(problem.tasks), [task.name for task in problem.tasks if not task.auxiliary]
    by_seed = [gains(half[seed], whole[seed], ways) for seed in seeds]
    told = {name: [100 * task_gain(found[name]) for found in by_seed] for name in main}
    return told | {"all tasks": [math.fsum(each) / len(told) for each in zip(*told.values(), strict=True)]}


def same_steps(whole: Problem, less: Problem) -> Budget:
    """The budget of a problem in more epochs where there are fewer rows, so that there are as many steps."""
    budget = Budget().updated(whole.suggested)
    rows = [len(each.splits["train"]) for each in (whole, less)]
    return replace(budget, epochs=round(budget.epochs * rows[0] / rows[1]))


def words(found: Interval) -> str:
    """An interval as mean and half width."""
    return f"{found.mean:+.2f}" if found.high is None else f"{found.mean:+.2f} ± {found.high - found.mean:.2f}"


def table(problem: Problem, share: float, seeds: int, folder: Path, jobs: int | None) -> None:
    """Compare twice, and print what changed."""
    runs, names = {}, [task.name for task in problem.tasks]
    for kept in (1.0, share):
        posed = [study.with_label_share(problem, kept, seed).only(*names) for seed in range(seeds)]
        found = [
            study.compare(each, [], [seed], same_steps(problem, each), folder / f"{kept:g}-{seed}", jobs=jobs)
            for seed, each in enumerate(posed)
        ]
        runs[kept] = [record for each in found for record in each.records]
    told = {(arm, kept): scores(records, arm) for arm in (SINGLE, JOINT) for kept, records in runs.items()}
    whole = [seed for seed in range(seeds) if all(len(each.get(seed, ())) == len(names) for each in told.values())]
    changes = {arm: change(told[arm, share], told[arm, 1.0], problem, whole) for arm in (SINGLE, JOINT)}
    print(f"\n{problem.name}, {share:.0%} of the labels, {len(whole)} seeds\n")
    print("| task | single-task, % | joint, % | joint less single-task |\n| --- | ---: | ---: | ---: |")
    for name in changes[SINGLE]:
        apart, joint = (changes[arm][name] for arm in (SINGLE, JOINT))
        three = (apart, joint, [one - other for one, other in zip(joint, apart, strict=True)])
        print(f"| {name} | {' | '.join(words(interval(each)) for each in three)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="+", help="names of `polytask list`, with settings")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--out", type=Path, default=Path("results/half_labels"))
    asked = parser.parse_args()
    for said in asked.problems:
        named = problem_named(said)
        problem = named.make(named.settings(data_root=asked.data_root))
        table(problem, asked.share, asked.seeds, asked.out / said, asked.jobs)


if __name__ == "__main__":
    main()
