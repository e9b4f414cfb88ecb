"""What commands print about problems, plans, scores and results."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from polytask._text import listed
from polytask.cli import labels
from polytask.cli.chosen import Choice, command_for
from polytask.cli.forecast import Cost
from polytask.cli.named import named_table
from polytask.cli.pictures import Predicted
from polytask.cli.tables import PredictedTable
from polytask.cli.text import NOTHING, amount, counted, duration, grid, number, say, show, spread, wrapped
from polytask.data.leakage import WARNING
from polytask.data.tables import TableSchema
from polytask.problems import Problem
from polytask.sharing import describe
from polytask.study import AuxiliarySummary, Search, Summary, TaskInfo, UnseenSummary
from polytask.study.kept import Record, run_folder
from polytask.tasks import Task
from polytask.training import Budget, directions


def columns(schema: TableSchema) -> None:
    """What every column of a table was taken for."""
    say(f"{schema.rows:,} rows, {len(schema.columns)} columns, taken for", "bold")
    rows = []
    for each in schema.columns:
        kind = str(each.kind) if each.kind.encoder else each.use or "left out"
        missing = f"{100 * each.missing:.1f} %" if each.missing else ""
        rows.append((each.name, kind, f"{each.distinct:,}", missing, each.reason or ", ".join(each.examples)))
    named_table(("column", "taken for", "values", "missing", "because"), rows, ["taken for"], ["because"])


def problem(posed: Problem) -> None:
    """What a problem is, and how many labels there are."""
    say(f"{posed.name}: {posed.summary}", "bold")
    say(f"Source: {posed.source}. Licence: {posed.licence}.")
    for note in posed.all_notes:
        warning = note.startswith(WARNING)
        say(note if warning else f"Note: {note}", "yellow" if warning else None)
    say()
    labels.counts(posed.labels)


def predictions(found: PredictedTable) -> None:
    """What was predicted for a table."""
    for note in found.notes:
        say(f"Note: {note}")
    for reason in found.unpredicted[:MOST]:
        say(f"No prediction: {reason}", "yellow")
    if found.unpredicted:
        without = counted(len(found.unpredicted), "row")
        say(f"{without} without a prediction: pictures that are missing or can't be read", "yellow")
    if found.pictureless:
        rows = counted(len(found.pictureless), "row")
        say(f"Predicted without their picture: {rows}: {listed(found.pictureless, MOST, '; ')}", "yellow")
    say(f"{found.table.height:,} rows: {listed(found.added, LISTED)}")


LISTED = 8
"""Names in a sentence; of more, how many there are."""
MOST = 20
"""Rows that are told one by one."""


def pictures(found: Predicted) -> None:
    """What was predicted for a folder of pictures."""
    say(f"{counted(found.done, 'picture')} predicted")
    if found.resized:
        say(f"{counted(found.resized, 'picture')} had another size than those of the training: resized there and back")
    for reason in found.skipped.values():
        say(f"Skipped: {reason}", "yellow")
    if found.skipped:
        say(f"{counted(len(found.skipped), 'picture')} skipped")
    for path in found.written:
        say(f"Written: {path}")


def sharing(model: nn.Module) -> None:
    """What is shared by which tasks."""
    print(describe(model))
    print()


def verdict(sentences: Sequence[str]) -> None:
    """What follows, in words; the first sentence is the headline."""
    headline, *rest = sentences
    say(headline, "bold")
    for sentence in rest:
        say(sentence)
    say()


def plan(
    posed: Problem, arms: Sequence[str], seeds: Sequence[int], budget: Budget, folder: Path, apart: bool = True
) -> None:
    """What is going to be trained: every task apart as well, unless it is one network only."""
    problem(posed)
    networks = len(seeds) * (len(posed.tasks) * apart + len(arms))
    say(f"To train: {counted(networks, 'network')} in {folder}", "bold")
    if apart:
        wrapped(f"apart: {listed([task.name for task in posed.tasks], LISTED)}", 2)
    wrapped(f"together: {listed(arms, LISTED, '; ')}", 2)
    settings(seeds, budget)


def networks(names: Sequence[str], seeds: Sequence[int], budget: Budget, folder: Path) -> None:
    """Which networks a study of auxiliary tasks is going to train."""
    say(f"To train: {counted(len(names) * len(seeds), 'network')} in {folder}", "bold")
    wrapped(f"the main tasks with: {listed(names, LISTED, '; ')}", 2)
    settings(seeds, budget)


def settings(seeds: Sequence[int], budget: Budget) -> None:
    """Seeds, and what every network may spend."""
    wrapped(
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; at most {counted(budget.epochs, 'epoch')}, "
        f"batches of {budget.batch_size}, learning rate {budget.learning_rate:g}",
        2,
    )
    say()


APART = (
    "By itself: with this auxiliary task alone, against none. Beside the others: with all of them, against all but "
    "this one. "
)


def brought(found: AuxiliarySummary) -> None:
    """What auxiliary tasks brought to the main ones: tables, then the verdict."""
    summary = found.networks
    several, many = len(summary.seeds) > 1, len(found.auxiliary) > 1
    say()
    for info in (task for task in summary.tasks if not task.auxiliary):
        _task_table(summary, info, {arm.name: f"{arm.name}{' *' if arm.chosen else ''}" for arm in summary.arms})
        mine = [each for each in found.brought if each.main == info.name]
        if len(mine) > 1:
            table = grid(f"brought to {info.name}, %", "by itself", "beside the others")
            for one in mine:
                table.add_row(one.auxiliary, *(spread(each, sign=True) for each in one.intervals))
            show(table)
        for one in mine if several else []:
            wrapped(f"{one.auxiliary}: {one.reading}", 2)
        say()
    sure = f"{100 * summary.confidence:g} % interval over {len(summary.seeds)} seeds"
    say(
        f"Gain: relative to {summary.arms[0].name}, in %, on test data, + is better. "
        f"{f'±: {sure}. ' if several else 'One seed: no intervals. '}"
        f"{APART if many else ''}* chosen on validation data."
    )
    say()
    verdict(found.verdict)


def scores(
    tasks: Sequence[Task],
    split: str,
    found: Mapping[str, Mapping[str, float]],
    constant: Mapping[str, Mapping[str, float]],
) -> None:
    """Scores of one network beside those of the best constant prediction."""
    ways = directions(tasks)
    rows = []
    for task in tasks:
        units = task.metric_units()
        for name, higher in ways[task.name].items():
            pair = (f"{number(each[task.name][name])} {units[name]}".rstrip() for each in (found, constant))
            rows.append((task.name, name, "higher" if higher else "lower", *pair))
    say()
    named_table(("task", "metric", "better", f"network, {split}", "constant prediction"), rows, ["metric", "better"])


def results(summary: Summary) -> None:
    """The tables of a comparison, then the verdict."""
    names = _names(summary)
    say()
    for info in summary.tasks:
        _task_table(summary, info, names)
    table = grid("over all tasks", "Δm tasks", "Δm metrics", "rank", "+/-", "time", "size")
    for arm in summary.arms:
        table.add_row(
            names[arm.name], spread(arm.delta_m_tasks, sign=True), spread(arm.delta_m_metrics, sign=True),
            number(arm.mean_rank, 2), NOTHING if arm.baseline else f"{arm.tasks_better}/{arm.tasks_worse}",
            duration(arm.seconds.mean), amount(arm.parameters), style="bold" if arm.chosen else None,
        )  # fmt: skip
    show(table)
    say(_legend(summary))
    say()
    verdict(summary.verdict)


def chosen(study: Choice, records: Sequence[Record], folder: Path) -> None:
    """Where the network that a study chose is, and how to use it."""
    record = study.network(records)
    if record is not None:
        run = run_folder(folder, record)
        say(f"Chosen network (seed {record['seed']}): {run}")
        if (command := command_for(run)) is not None:
            print(command)


def _legend(summary: Summary) -> str:
    """What the figures of the tables are."""
    together = [arm for arm in summary.arms if not arm.baseline]
    shared = f"All share by {together[0].sharing}. " if _one_architecture(summary) else ""
    several = len(summary.seeds) > 1
    sure = f"{100 * summary.confidence:g} % interval over {len(summary.seeds)} seeds"
    return (
        f"{shared}Gain and Δm: relative gain over single-task training in %, on test data, + is better. "
        f"{f'±: {sure}.' if several else 'One seed: no intervals.'} +/-: tasks whose interval lies above / below 0. "
        "Size: parameters. * chosen on validation data."
    )


def _one_architecture(summary: Summary) -> bool:
    return len({arm.sharing for arm in summary.arms if not arm.baseline}) == 1


def _names(summary: Summary) -> dict[str, str]:
    """What each arm is called in tables: by its balancer alone where all share in one way."""
    one = _one_architecture(summary)
    return {
        arm.name: f"{arm.balancer if one and not arm.baseline else arm.name}{' *' if arm.chosen else ''}"
        for arm in summary.arms
    }


def _task_table(summary: Summary, info: TaskInfo, names: Mapping[str, str]) -> None:
    """Scores and gain of every arm on one task."""
    aside = " (auxiliary)" if info.auxiliary else ""
    metrics = [
        f"{each.name}{f', {each.unit}' if each.unit else ''} {'↑' if each.higher_is_better else '↓'}"
        for each in info.metrics
    ]
    table = grid(f"{info.name}{aside}", *metrics, "gain, %")
    for arm in summary.arms:
        found = arm.scores.get(info.name, {})
        table.add_row(
            names[arm.name],
            *(spread(found.get(each.name)) for each in info.metrics),
            spread(arm.task_gain.get(info.name), sign=True),
            style="bold" if arm.chosen else None,
        )
    show(table)


def unseen(found: UnseenSummary) -> None:
    """What networks scored on tasks that they were not trained on."""
    say()
    for metric in found.metrics:
        unit = f", {metric.unit}" if metric.unit else ""
        table = grid(
            f"{metric.name}{unit} {'↑' if metric.higher_is_better else '↓'}", *found.tasks[0].scores, "gain, %"
        )
        for task in found.tasks:
            cells = (number(of_way[metric.name].mean) for of_way in task.scores.values())
            table.add_row(task.task, *cells, spread(task.gain, sign=True))
        show(table)
    say("Gain: of told over not told, mean over the metrics, on test data; + is better.")
    say()
    verdict(found.verdict)


def left_out(groups: Sequence[Sequence[str]], seeds: Sequence[int], budget: Budget, folder: Path) -> None:
    """Which tasks a study of unseen tasks leaves out together, and what it is going to train."""
    count = len(seeds) * (2 * len(groups) + sum(map(len, groups)))
    say(f"To train: {counted(count, 'network')} in {folder}", "bold")
    for place, group in enumerate(groups, 1):
        wrapped(f"group {place}, left out together: {', '.join(group)}", 2)
    settings(seeds, budget)


def trials(found: Search) -> None:
    """All weights that were tried, the best first, and how much they matter."""
    tasks = list(found.best.weights)
    table = grid("trial", *tasks, "Δm, validation")
    order = sorted(range(len(found.trials)), key=lambda k: -_or_last(found.trials[k].validation))
    for k in order:
        trial = found.trials[k]
        table.add_row(
            f"{k + 1}{' *' if trial is found.best else ''}", *(number(trial.weights[task]) for task in tasks),
            _signed(trial.validation), style="bold" if trial is found.best else None,
        )  # fmt: skip
    say()
    show(table)
    equal, best = found.trials[0], found.best
    low, middle, high = found.spread
    say(
        "Δm: mean relative gain over single-task training in %, + is better. * chosen on validation data. "
        f"Trial 1 has equal weights. {counted(found.networks, 'network')} trained."
    )
    say()
    say(
        f"The weights move Δm on validation data from {_signed(low)} to {_signed(high)} (median {_signed(middle)}). "
        f"On test data the chosen ones have {_signed(best.test)}, equal ones {_signed(equal.test)}."
    )
    for trial in found.trials:
        if trial.error is not None:
            say(f"Failed: {trial.error}")


def _or_last(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _signed(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else NOTHING


WAYS: Mapping[str, str] = {
    "one pass": "the ordinary backward pass of one loss",
    "sequential": "one backward pass per task",
    "batched": "backward passes of several tasks at once",
    "layerwise": "all tasks together, layer by layer, without keeping their gradients",
    "two-pass": "the same, then the ordinary pass of the weighted sum",
}
"""The ways in which gradients are made, in words."""


def _made(ways: Collection[str]) -> str:
    return f"Made: {'; '.join(f'{way}: {told}' for way, told in WAYS.items() if way in ways)}."


MADE = "made"
TOLD_APART = 6
"""Tasks trained alone whose costs are shown one by one."""


def _told_apart(found: Sequence[Cost]) -> list[Cost]:
    """The costs that get a row: of many tasks trained alone, the least and the most."""
    alone = sorted((cost for cost in found if cost.alone), key=lambda cost: cost.training)
    if len(alone) <= TOLD_APART:
        return list(found)
    ends = [replace(alone[0], name="alone, least"), replace(alone[-1], name="alone, most")]
    return ends + [cost for cost in found if not cost.alone]


def costs(found: Sequence[Cost], seeds: int, budget: Budget, jobs: int) -> None:
    """Passes, memory and seconds of a step, and how long a comparison would take."""
    rows = [
        (
            cost.name,
            str(cost.passes),
            cost.way,
            number(cost.plain_mib, 3),
            f"+ {number(cost.balancing_mib, 3)}" if cost.balancing_mib else NOTHING,
            duration(cost.step),
            f"up to {duration(cost.training)}",
        )
        for cost in _told_apart(found)
    ]
    named_table(("cost forecast", "passes", MADE, "MiB", "balancing", "a step", "one network"), rows, words=[MADE])
    alone = sum(cost.alone for cost in found)
    many = f"Alone: the least and the most that one of {alone} tasks takes. " if alone > TOLD_APART else ""
    say(
        f"{many}Passes: backward passes through all that is shared; shorter ones, of heads or down to features, do not "
        "count. MiB: parameters, gradients, optimizer state and activations, which training needs anyway; balancing: "
        f"what the gradients of all tasks take besides. {_made({cost.way for cost in found})}"
    )
    total = seeds * sum(cost.training for cost in found) / jobs
    say(
        f"A comparison of all these with {counted(seeds, 'seed')}, {counted(budget.epochs, 'epoch')} and "
        f"{counted(jobs, 'network')} at a time: up to {duration(total)}, measured here over "
        "a few steps; starting the processes comes on top."
    )
