"""What is lost when half of the training labels are hidden: by networks for one task, and by one for all tasks.

    python benchmarks/half_labels.py adult "fdu_mtl(words=128)" --data-root DATA

Every problem is compared twice, with all training labels and with a share of each task's, drawn by itself
(`study.with_label_share`): single-task networks and hard sharing, the same seeds, budget and number of steps. Printed
is the change of every task's test scores in % of those with all labels (above 0: better), the mean over its metrics
and over the tasks, with paired intervals over the seeds; and the difference of the two changes, joint less apart.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask import study
from polytask.cli.catalogues import problem_named
from polytask.evaluation import Interval, gains, interval, task_gain
from polytask.problems import Problem
from polytask.training import directions

Scores = Mapping[int, Mapping[str, Mapping[str, float]]]
"""Test scores by seed, task and metric."""
SINGLE, JOINT = study.SINGLE_TASK, study.Arm().name


def scores(records: Sequence[Mapping[str, Any]], arm: str) -> Scores:
    """The test scores of the networks of an arm."""
    found: dict[int, dict[str, Mapping[str, float]]] = {}
    for record in records:
        if record["arm"] == arm and record["status"] == "finished":
            found.setdefault(record["seed"], {}).update(record["scores"]["test"])
    return found


def change(half: Scores, whole: Scores, problem: Problem) -> dict[str, list[float]]:
    """By task, and under "all tasks" their mean: the change of every seed in %."""
    ways = directions(problem.tasks)
    by_seed = [gains(half[seed], whole[seed], ways) for seed in sorted(whole)]
    told = {task.name: [100 * task_gain(found[task.name]) for found in by_seed] for task in problem.tasks}
    return told | {"all tasks": [math.fsum(each) / len(told) for each in zip(*told.values(), strict=True)]}


def words(found: Interval) -> str:
    """An interval as mean and half width."""
    return f"{found.mean:+.2f}" if found.high is None else f"{found.mean:+.2f} ± {found.high - found.mean:.2f}"


def table(problem: Problem, share: float, seeds: int, folder: Path, jobs: int | None) -> None:
    """Compare twice, and print what changed."""
    runs = {}
    for kept in (1.0, share):
        posed = [problem if kept == 1 else study.with_label_share(problem, kept, seed) for seed in range(seeds)]
        found = [
            study.compare(each, [], [seed], None, folder / f"{kept:g}-{seed}", jobs=jobs)
            for seed, each in enumerate(posed)
        ]
        runs[kept] = [record for each in found for record in each.records]
    changes = {arm: change(scores(runs[share], arm), scores(runs[1.0], arm), problem) for arm in (SINGLE, JOINT)}
    print(f"\n{problem.name}, {share:.0%} of the labels, {seeds} seeds\n")
    print("| task | single-task, % | joint, % | joint less single-task |\n| --- | ---: | ---: | ---: |")
    for name in changes[SINGLE]:
        apart, joint = (changes[arm][name] for arm in (SINGLE, JOINT))
        told = (apart, joint, [one - other for one, other in zip(joint, apart, strict=True)])
        print(f"| {name} | {' | '.join(words(interval(each)) for each in told)} |")


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
