"""Does it help to train on other tasks first? Several numbers of labels of the target, three ways to use the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from polytask._plain import words
from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.arms import Arm
from polytask.study.hidden import with_labels
from polytask.study.kept import Kept, Record, command_line, write_found
from polytask.study.rehearse import rehearse
from polytask.study.run import Job
from polytask.study.running import budget_of, seeds_of, workers
from polytask.study.transferred import TransferSummary, called, summed_up
from polytask.training import Budget, FineTuned, FineTuning
from polytask.training.evaluate import selection_score

Size = int | Literal["all"]

USUAL: tuple[int, ...] = (100, 1000)
"""Numbers of labels, where none are said."""
PRETRAINING = "pre-training"
SCRATCH = "from scratch"


@dataclass(frozen=True)
class Way(Arm):
    """How a network that is to learn the target is made and trained.

    Args:
        label: what it is called in tables.
        together: it learns the other tasks at the same time.
    """

    label: str = ""
    together: bool = False

    @cached_property
    def name(self) -> str:
        return self.label

    @cached_property
    def family(self) -> str:
        return self.label


@dataclass(frozen=True)
class Transfer:
    """The results of a study of transfer: every run's record, and what follows from them."""

    folder: Path
    records: list[Record]
    summary: TransferSummary


def transfer(
    problem: Problem,
    pretrain: Sequence[str],
    target: str,
    sizes: Sequence[Size] | None = None,
    recipes: Sequence[FineTuning] = (FineTuning(),),
    arm: Arm | None = None,
    seeds: int | Sequence[int] = 3,
    budget: Budget | Mapping[str, Any] | None = None,
    folder: Path | str = "results/transfer",
    *,
    jobs: int | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
    on_record: Callable[[Record, int, int], None] | None = None,
) -> Transfer:
    """Train a target task from scratch, fine-tuned from a network that was trained on other tasks, and together with
    these, with several numbers of training labels; say for each whether transfer helped, did nothing or hurt.

    Labels of the target beyond a size are hidden, in rows drawn by the seed; the sets of one seed are nested. The other
    tasks keep all of theirs. At every size the ways are compared with training from scratch, paired by seed: the same
    labels, the same budget and number of steps (an epoch has as many samples as the data have rows, whatever the size),
    the same initial weights where they are not loaded. Seeds draw initial weights, batches and labels, so that the
    intervals cover all three; with all labels the last is the same for every seed.

    Of every network the best epoch is chosen on validation data, and so is the recipe that the headline speaks of. The
    validation and test labels of the target are never hidden: choosing an epoch with many validation labels flatters
    all ways alike at small sizes. The test split is read once per network, afterwards. Pre-training comes on top of the
    budget of a fine-tuned network; its time is told.

    A run that is finished in `folder` is not trained again, an interrupted one goes on, a failed one is tried again.

    Args:
        problem: tasks and data.
        pretrain: the tasks to train on first, together, with all of their labels.
        target: the task to transfer to.
        sizes: numbers of training labels of the target, and "all"; None: those of 100 and 1,000 that it has, and all.
        recipes: ways of fine-tuning.
        arm: how networks are made, and those of several tasks trained (pre-training and together); hard sharing with
            equal weights by default.
        seeds: how many, or which; the same for all networks.
        budget: for every network; what is not given is what the problem suggests.
        folder: where everything is kept.
        jobs, backend, confidence, on_record: as in `compare`.

    Cost: per seed a network for pre-training, and for every size one from scratch, one per recipe and a joint one.

    Raises:
        PolytaskError: what was asked for can't work (said before anything is trained), or no seed has a network from
            scratch.

    >>> import tempfile
    >>> from polytask import problems
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posed, short = problems.digits(100), {"epochs": 1}
    ...     found = transfer(posed, ["left"], "right", [20, "all"], seeds=1, budget=short, folder=folder)
    >>> [(each.labels, [arm.name for arm in each.networks.arms]) for each in found.summary.sizes]
    [(20, ['from scratch', 'fine-tuned', 'together']), (100, ['from scratch', 'fine-tuned', 'together'])]
    """
    root = Path(folder).resolve()
    asked = seeds_of(seeds)
    workers(jobs, backend)
    spent = budget_of(problem, budget)
    plan = Plan.of(problem, pretrain, target, sizes, recipes, arm or Arm())
    plan.rehearse(spent, asked, backend, confidence)
    first = {seed: plan.pretraining(seed, spent) for seed in asked}
    starts = {seed: root / "runs" / job.key for seed, job in first.items()}
    later = [
        (size, plan.job(way, size, seed, spent, starts[seed]))
        for seed in asked
        for size in plan.sizes
        for way in plan.ways
    ]
    kept = Kept(root, [*first.values(), *(job for _, job in later)], on_record)
    kept.read()
    kept.train(list(first.values()), jobs, backend)
    lost = {record["seed"]: record["error"] for record in kept.records if record["status"] != "finished"}
    if len(lost) == len(asked):
        raise PolytaskError(f"pre-training failed with every seed: {next(iter(lost.values()))}")
    able = [job for _, job in later if not (job.starts and job.seed in lost)]
    kept.train(sorted(able, key=lambda job: -len(job.problem.tasks)), jobs, backend)
    of = {job.key: size for size, job in later}
    by_size = {size: [each for each in kept.records if of.get(each["key"]) == size] for size in plan.sizes}
    command = command_line("polytask.study.transfer(...)")
    summary = summed_up(plan.problem, plan.pretrain, target, plan.ways, by_size, asked, spent, command, confidence)
    told = tuple(f"Pre-training failed with seed {seed}: {error}." for seed, error in lost.items())
    summary = replace(summary, verdict=summary.verdict + told)
    write_found(root, summary, kept.records)
    return Transfer(root, kept.records, summary)


@dataclass(frozen=True)
class Plan:
    """What a study of transfer will train.

    Args:
        problem: with the tasks that take part, the target last.
        pretrain, target: names of tasks.
        sizes: numbers of labels, the smallest first.
        ways: of training the target, from scratch first.
        usual: how networks of several tasks are trained.
    """

    problem: Problem
    pretrain: tuple[str, ...]
    target: str
    sizes: tuple[int, ...]
    ways: tuple[Way, ...]
    usual: Arm

    @classmethod
    def of(
        cls,
        problem: Problem,
        pretrain: Sequence[str],
        target: str,
        sizes: Sequence[Size] | None,
        recipes: Sequence[FineTuning],
        arm: Arm,
    ) -> "Plan":
        """The plan, where it makes sense.

        Raises:
            PolytaskError: it makes none.
        """
        names = [task.name for task in problem.tasks]
        for name in [*pretrain, target]:
            if name not in names:
                raise PolytaskError(f"there is no task '{name}' in '{problem.name}'; {did_you_mean(name, names)}")
        if not pretrain or target in pretrain or len(set(pretrain)) < len(pretrain):
            raise PolytaskError(
                f"expected tasks to train on first and another one as the target, got {', '.join(pretrain) or 'none'} "
                f"and '{target}'; tasks of '{problem.name}': {', '.join(names)}"
            )
        if arm.begins_trained:
            raise PolytaskError("arm: the networks of this study start by the recipes; leave from_single_task out")
        chosen = [name for name in names if name in pretrain]
        posed = problem.only(*chosen, target)
        return cls(posed, tuple(chosen), target, _sizes(posed, target, sizes), _ways(recipes, arm), arm)

    def rehearse(self, budget: Budget, seeds: Sequence[int], backend: str | None, confidence: float) -> None:
        """Look at what is asked for, make every network once, load, and draw every set of labels, to throw them away.

        Raises:
            PolytaskError: something of it can't work.
        """
        together = [way for way in self.ways if way.together]
        rehearse(self.problem, together or [self.usual], budget, seeds, backend, confidence)
        for seed in seeds:
            for size in self.sizes:
                with_labels(self.problem, self.target, size, seed)
        trained, alone = self.problem.only(*self.pretrain), self.problem.only(self.target)
        selection_score(alone.tasks, {}, budget.select)
        state = self.usual.sharing(trained.backbone, trained.tasks).state_dict()
        for way in self.ways:
            if way.fine_tuning is not None:
                try:
                    tuned = FineTuned(way.sharing(alone.backbone, alone.tasks), state, way.fine_tuning)
                    tuned.begin_epoch(0, budget.epochs)
                except PolytaskError as error:
                    raise PolytaskError(
                        f"recipe {words(way.fine_tuning)}: {error}; or leave it out, as in --recipes "
                        f'"{words(FineTuning())}"'
                    ) from error

    def pretraining(self, seed: int, budget: Budget) -> Job:
        """The network to start from; its epoch is chosen by its own tasks."""
        way = Way(**_settings(self.usual), label=PRETRAINING)
        return Job(self.problem.only(*self.pretrain), way, seed, replace(budget, select=None), self._samples)

    def job(self, way: Way, size: int, seed: int, budget: Budget, start: Path) -> Job:
        """A network that learns the target from so many labels; its epoch is chosen by the target."""
        posed = with_labels(self.problem, self.target, size, seed)
        tasks = tuple(replace(task, auxiliary=task.name != self.target) for task in posed.tasks)
        posed = replace(posed, tasks=tasks) if way.together else posed.only(self.target)
        named = replace(way, label=called(way.label, size))
        return Job(posed, named, seed, budget, self._samples, starts=start if way.fine_tuning else {})

    @property
    def _samples(self) -> int:
        """That make an epoch of every network."""
        return len(self.problem.splits["train"])


def _settings(arm: Arm) -> dict[str, Any]:
    return {each.name: getattr(arm, each.name) for each in fields(Arm)}


def _sizes(problem: Problem, target: str, sizes: Sequence[Size] | None) -> tuple[int, ...]:
    """Numbers of labels, the smallest first."""
    labels = {name: int(data.labelled(target).sum()) for name, data in problem.splits.items()}
    whole = labels["train"]
    if sizes is None:
        sizes = (*(size for size in USUAL if size < whole), "all")
    found = sorted({whole if size == "all" else size for size in sizes})
    if not found or not all(isinstance(size, int) and 0 < size <= whole for size in found):
        raise PolytaskError(
            f"sizes (--sizes): expected numbers of training labels of '{target}', which has {whole:,}, or all, as in "
            f"{max(1, whole // 2)} all; got {', '.join(map(str, sizes)) or 'none'} (of its {sum(labels.values()):,} "
            f"labels, {whole:,} are in the training split)"
        )
    return tuple(found)


def _ways(recipes: Sequence[FineTuning], arm: Arm) -> tuple[Way, ...]:
    """From scratch, by every recipe, and together; each once."""
    tuned = {_label(recipe): Way(arm.sharing, fine_tuning=recipe, label=_label(recipe)) for recipe in recipes}
    together = Way(**_settings(arm), label="together", together=True)
    return (Way(arm.sharing, label=SCRATCH), *tuned.values(), together)


def _label(recipe: FineTuning) -> str:
    """What a recipe is called: by the settings that are not the defaults."""
    settings = words(recipe).removeprefix(type(recipe).__name__)
    return "fine-tuned" + ("" if settings == "()" else f" {settings}")
