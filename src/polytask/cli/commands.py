"""What each command does; its options are its parameters, their help is this docstring."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from polytask.balancing import (
    DWA,
    MGDA,
    Balancer,
    Equal,
    GradientSimilarity,
    GramianBalancer,
    LossBalancer,
    PCGrad,
    TaskwiseStopping,
    Uncertainty,
)
from polytask.cli import labels, show, show_transfer
from polytask.cli.arguments import Settings
from polytask.cli.catalogues import Architecture, Drawing, Part, ProblemName, Recipe, Trunk
from polytask.cli.forecast import forecast
from polytask.cli.init import described, relative, written
from polytask.cli.listing import catalogue
from polytask.cli.pictures import ENDINGS, predict_folder
from polytask.cli.progress import RunsProgress, epoch_line
from polytask.cli.saved import SavedRun
from polytask.cli.tables import flat
from polytask.cli.text import counted, file_name, say
from polytask.data.tables import mark_missing, open_table
from polytask.data.tables.images import folder_of
from polytask.deployment import export_onnx, export_program
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import Conditioned, HardSharing
from polytask.sharing.starting import can_start
from polytask.study import Arm, AuxiliarySummary, Dirichlet, Job, Sampler, Summary, rehearse, search_weights
from polytask.study import auxiliaries as run_auxiliaries
from polytask.study import compare as run_study
from polytask.study import split_levels as study_levels
from polytask.study import train as run_job
from polytask.study import transfer as run_transfer
from polytask.study import unseen as run_unseen
from polytask.study.auxiliary_networks import planned, with_main
from polytask.study.compare import workers
from polytask.study.report import write
from polytask.study.report.auxiliaries import write as write_auxiliaries
from polytask.study.report.transfer import write_transfer
from polytask.study.transfer import Plan, Size
from polytask.study.transferred import TransferSummary
from polytask.training import Budget, FineTuning, constant_scores
from polytask.training.folder import read_json
from polytask.training.starting import by_task

EXPORTS = {"onnx": (export_onnx, ".onnx"), "torch": (export_program, ".pt2")}
BALANCERS: tuple[Balancer, ...] = (Equal(), Uncertainty(), DWA(), PCGrad(), MGDA())
FOR_AUXILIARIES: tuple[Balancer, ...] = (GradientSimilarity(), TaskwiseStopping())
Way = Literal["auto", "sequential", "batched", "layerwise", "two-pass"]
HARD = Architecture(HardSharing)
TOLD = Architecture(partial(Conditioned, one_head=True))
OWN = Trunk(None)
EXACT = Part(None)
SHUFFLED = Drawing(None)
USUAL = Recipe(None)
RECIPES = (Recipe(FineTuning()), Recipe(FineTuning(thaw=1, factor=2.6)))
SIZES: tuple[Size, ...] = (100, 1000, "all")
DIRICHLET = Dirichlet()


def list_() -> None:
    """Show problems, architectures, balancing methods and metrics."""
    catalogue()


def init(data: Path, target: tuple[str, ...] = (), out: Path | None = None, force: bool = False) -> None:
    """Write a YAML file about a table: what was guessed, and why.

    It names the table, so that the file can stand for it: polytask compare people.yaml. Nothing is asked, nothing is
    trained; what is wrong in the file is to be changed by hand.

    Args:
        data: a table, or a folder of pictures with a table that names them
        target: what to predict, name or name:kind; may be repeated; guessed if not given
        out: the file; <table>.yaml beside the table if not given
        force: write over a file that is there
    """
    raw = open_table(data)
    frame = mark_missing(raw.read())
    place = out or folder_of(data) / f"{data.resolve().name.split('.')[0]}.yaml"
    text = described(frame, relative(data, place.parent), target, raw.split)
    written(text, place, force)
    print(text, end="")
    say()
    say(f"Written: {place}")
    print(f"polytask compare {shlex.quote(str(place))}")


def compare(
    problem: ProblemName,
    target: tuple[str, ...] = (),
    schema: Path | None = None,
    data_root: Path | None = None,
    balancers: tuple[Balancer, ...] = BALANCERS,
    sharing: tuple[Architecture, ...] = (HARD,),
    split_levels: bool = False,
    from_single_task: bool = False,
    at_features: bool = False,
    way: Way = "auto",
    estimate: Part = EXACT,
    samplers: tuple[Drawing, ...] = (),
    backbone: Trunk = OWN,
    seeds: int | list[int] = 3,
    budget: Settings = {},  # noqa: B006 (read only)
    out: Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
) -> None:
    """Train tasks apart and together; say what each gained or lost.

    Every way is trained with every seed under one budget, next to single-task networks. Start the same command again
    to go on after an interruption; what is finished is not trained twice.

    Args:
        problem: a name of `polytask list`, with settings as in "digits(n_train=500)", or a .csv or .parquet file
        target: what to predict in a table, name:kind (binary, multiclass, multilabel, regression); may be repeated
        schema: a YAML file that says what the columns of a table are
        data_root: the folder of data sets on disk
        balancers: balancing methods, as in PCGrad "Uncertainty(learning_rate=0.02)"
        sharing: architectures, as in HardSharing "PADNet(distillation=MessagePassing())"
        split_levels: also hard sharing split after every stage of the backbone, from nothing to all shared
        from_single_task: start architectures with a network per task (CrossStitch, NDDR, ...) from the single-task ones
        at_features: balance gradients at the shared features (as the papers of GradDrop and MGDA-UB do)
        way: how the gradients of all tasks are made: auto, sequential, batched, layerwise, two-pass
        estimate: weigh by a part of the gradients, as in "LastLayers(0.25)", the last quarter of the shared layers
        samplers: how tasks or data sets are sampled, as in Uniform "Temperature(5)"; all rows shuffled if not given
        backbone: another trunk than the problem's own, as in "SmallCNN(channels=3, widths=(32, 64))"
        seeds: how many, or which ones
        budget: of every network; what is not given is what the problem suggests
        out: the folder of the study; results/<problem>, for a table results/<table>-<targets>, if not given
        jobs: networks trained at the same time; one per core if not given
        backend: of joblib, as in loky, dask, ray
        confidence: of the intervals
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else seeds
    posed = _posed(problem, target, schema, data_root, backbone)
    spent = _budget(posed, budget)
    tasks = [task.name for task in posed.tasks] if problem.is_table else []
    folder = out or Path("results") / _slug(" ".join([posed.name, *tasks]))
    arms = _sampled(_arms(sharing, balancers, at_features, way, estimate), samplers)
    if from_single_task:
        arms = _starting(arms, posed)
    if split_levels:
        arms += study_levels(posed)
    rehearse(posed, arms, spent, numbers, backend, confidence)
    workers(jobs, backend)
    names = list(dict.fromkeys(arm.name for arm in [Arm(), *arms]))
    show.plan(posed, names, numbers, spent, folder)
    with RunsProgress(folder) as progress:
        done = run_study(
            posed,
            arms,
            numbers,
            spent,
            folder,
            jobs=jobs,
            backend=backend,
            confidence=confidence,
            on_record=progress.over,
        )
    show.results(done.summary)
    path = write(done.summary, done.records, folder / "report.html")
    say(f"Report: {path}")
    if not any(arm.chosen for arm in done.summary.arms):
        errors = [error for arm in done.summary.arms for error in arm.failed]
        raise PolytaskError(f"no way of training together was finished: {errors[0] if errors else 'see above'}")


def auxiliaries(
    problem: ProblemName,
    main: tuple[str, ...] = (),
    target: tuple[str, ...] = (),
    schema: Path | None = None,
    data_root: Path | None = None,
    balancer: Balancer = BALANCERS[0],
    also: tuple[Balancer, ...] = FOR_AUXILIARIES,
    sharing: Architecture = HARD,
    backbone: Trunk = OWN,
    seeds: int | list[int] = 3,
    budget: Settings = {},  # noqa: B006 (read only)
    out: Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
) -> None:
    """Say what each auxiliary task brings to the main ones.

    Trains the main tasks without, with all, with all but one and with one of the auxiliary tasks, all under one budget
    and with the same seeds. Start the same command again to go on after an interruption.

    Args:
        problem: a name of `polytask list`, with settings as in "digits(n_train=500)", or a .csv or .parquet file
        main: a task that counts, all others are auxiliary then; may be repeated. If not given, as they are marked
        target: what to predict in a table, name:kind (binary, multiclass, multilabel, regression); may be repeated
        schema: a YAML file that says what the columns of a table are
        data_root: the folder of data sets on disk
        balancer: the balancing method of these networks
        also: further methods, tried with all auxiliary tasks; "[]" for none
        sharing: the architecture, as in "HardSharing(shared_stages=1)"
        backbone: another trunk than the problem's own, as in "SmallCNN(channels=3, widths=(32, 64))"
        seeds: how many, or which ones
        budget: of every network; what is not given is what the problem suggests
        out: the folder of the study; results/<problem>-auxiliaries-<main tasks> if not given
        jobs: networks trained at the same time; one per core if not given
        backend: of joblib, as in loky, dask, ray
        confidence: of the intervals
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else seeds
    posed = with_main(_posed(problem, target, schema, data_root, backbone), main)
    spent = _budget(posed, budget)
    arm, *others = (Arm(sharing.make, each) for each in (balancer, *also))
    counted_in = [task.name for task in posed.tasks if not task.auxiliary]
    folder = out or Path("results") / _slug(" ".join([posed.name, "auxiliaries", *counted_in]))
    show.problem(posed)
    show.networks([each.name for each in planned(posed, arm, others)], numbers, spent, folder)
    with RunsProgress(folder) as progress:
        found = run_auxiliaries(
            posed,
            (),
            arm,
            others,
            numbers,
            spent,
            folder,
            jobs=jobs,
            backend=backend,
            confidence=confidence,
            on_record=progress.over,
        )
    show.brought(found.summary)
    say(f"Report: {write_auxiliaries(found.summary, found.records, folder / 'report.html')}")


def search(
    problem: ProblemName,
    target: tuple[str, ...] = (),
    schema: Path | None = None,
    data_root: Path | None = None,
    trials: int = 20,
    sampler: Sampler = DIRICHLET,
    sharing: Architecture = HARD,
    backbone: Trunk = OWN,
    seeds: int | list[int] = 1,
    budget: Settings = {},  # noqa: B006 (read only)
    out: Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
) -> None:
    """Find the best fixed weights of the tasks, on validation data.

    Trains with many weights, every network under one budget; tuned weights are the baseline that other balancing
    methods have to beat. Start the same command again to go on after an interruption.

    Args:
        problem: a name of `polytask list`, with settings as in "digits(n_train=500)", or a .csv or .parquet file
        target: what to predict in a table, name:kind (binary, multiclass, multilabel, regression); may be repeated
        schema: a YAML file that says what the columns of a table are
        data_root: the folder of data sets on disk
        trials: how many weights, equal ones included
        sampler: which weights; Dirichlet (random), Grid, or TPE of Optuna, as in "TPE(seed=1)"
        sharing: the architecture, as in "HardSharing(shared_stages=1)"
        backbone: another trunk than the problem's own, as in "SmallCNN(channels=3, widths=(32, 64))"
        seeds: how many, or which ones, for every trial
        budget: of every network; what is not given is what the problem suggests
        out: the folder of the search; results/<problem>-search if not given
        jobs: networks trained at the same time; one per core if not given
        backend: of joblib, as in loky, dask, ray
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else seeds
    posed = _posed(problem, target, schema, data_root, backbone)
    spent = _budget(posed, budget)
    folder = out or Path("results") / _slug(f"{posed.name} search")
    show.problem(posed)
    say(f"To try: {counted(trials, 'weighting')} by {sampler}, in {folder}", "bold")
    say()
    with RunsProgress(folder) as progress:
        found = search_weights(
            posed,
            spent,
            trials,
            folder,
            sampler=sampler,
            sharing=sharing.make,
            seeds=numbers,
            jobs=jobs,
            backend=backend,
            on_record=progress.over,
        )
    show.trials(found)
    fresh = " ".join(str(max(numbers) + k) for k in (1, 2, 3))
    say("To use them, with the same problem and budget, and seeds that did not choose them:")
    print(f"polytask compare ... --balancers {_quoted(found.arm.balancer_name)} PCGrad --seeds {fresh}")


def unseen(
    problem: ProblemName,
    data_root: Path | None = None,
    groups: int = 4,
    leave_out: tuple[str, ...] = (),
    sharing: Architecture = TOLD,
    backbone: Trunk = OWN,
    seeds: int | list[int] = 3,
    budget: Settings = {},  # noqa: B006 (read only)
    out: Path | None = None,
    jobs: int | None = None,
    confidence: float = 0.95,
) -> None:
    """Ask a network for tasks that it was not trained on.

    Tasks are left out in groups; the network knows them by their descriptors alone. Start the same command again to go
    on after an interruption.

    Args:
        problem: a problem whose tasks have descriptors, as in harbours "harbours(count=8)"
        data_root: the folder of data sets on disk
        groups: how many groups the tasks are left out in
        leave_out: leave out these tasks only, all at once
        sharing: an architecture that is told its task, as in "Conditioned(by=Gating(), one_head=True)"
        backbone: another trunk than the problem's own
        seeds: how many, or which ones
        budget: of every network; what is not given is what the problem suggests
        out: the folder of the study; results/<problem>-unseen if not given
        jobs: networks trained at the same time; one per core if not given
        confidence: of the intervals
    """
    posed = _posed(problem, (), None, data_root, backbone)
    folder = out or Path("results") / _slug(f"{posed.name} unseen")
    show.problem(posed)
    with RunsProgress(folder) as progress:
        found = run_unseen(
            posed, [leave_out] if leave_out else groups, Arm(sharing.make), seeds, _budget(posed, budget), folder,
            jobs=jobs, confidence=confidence, on_record=progress.over,
        )  # fmt: skip
    show.unseen(found)
    say(f"Results: {folder / 'unseen.json'}")


def train(
    problem: ProblemName,
    target: tuple[str, ...] = (),
    schema: Path | None = None,
    data_root: Path | None = None,
    balancer: Balancer = BALANCERS[0],
    sharing: Architecture = HARD,
    start: tuple[Path, ...] = (),
    fine_tuning: Recipe = USUAL,
    at_features: bool = False,
    way: Way = "auto",
    estimate: Part = EXACT,
    sampler: Drawing = SHUFFLED,
    backbone: Trunk = OWN,
    seed: int = 0,
    budget: Settings = {},  # noqa: B006 (read only)
    out: Path | None = None,
) -> None:
    """Train one network and score it; an interrupted run goes on.

    Args:
        problem: a name of `polytask list`, with settings as in "digits(n_train=500)", or a .csv or .parquet file
        target: what to predict in a table, name:kind (binary, multiclass, multilabel, regression); may be repeated
        schema: a YAML file that says what the columns of a table are
        data_root: the folder of data sets on disk
        balancer: the balancing method, as in "Uncertainty(learning_rate=0.02)"
        sharing: the architecture, as in "HardSharing(shared_stages=1)" or "PADNet(distillation=MessagePassing())"
        start: the folder of a run to go on from, whose trunk becomes this one's; or those of single-task networks, one
            for every task, for architectures with a network per task
        fine_tuning: how to go on from there, as in "FineTuning(freeze=(0,), thaw=1, factor=2.6, l2_sp=L2SP())"
        at_features: balance gradients at the shared features (as the papers of GradDrop and MGDA-UB do)
        way: how the gradients of all tasks are made: auto, sequential, batched, layerwise, two-pass
        estimate: weigh by a part of the gradients, as in "LastLayers(0.25)", the last quarter of the shared layers
        sampler: how tasks or data sets are sampled, as in "Uniform(per='batch')"
        backbone: another trunk than the problem's own, as in "SmallCNN(channels=3, widths=(32, 64))"
        seed: of the initial weights and the order of the samples
        budget: of the training; what is not given is what the problem suggests
        out: the folder of the run; results/<problem>-<architecture>-<method>-seed-<seed> if not given
    """
    posed = _posed(problem, target, schema, data_root, backbone)
    (arm,) = _sampled(_arms([sharing], [balancer], at_features, way, estimate), [sampler])
    starts = start[0] if len(start) == 1 else by_task(start)
    arm = replace(arm, from_single_task=len(start) > 1, fine_tuning=_recipe(fine_tuning, start))
    job = Job(posed, arm, seed, _budget(posed, budget), starts=starts)
    _check_starts(job)
    rehearse(posed, [arm], job.budget)
    folder = out or Path("results") / _slug(f"{posed.name} {arm.name} seed {seed}")
    show.plan(posed, [arm.name], [seed], job.budget, folder)
    try:
        record = run_job(job, folder, on_epoch=lambda epoch: say(epoch_line(epoch, job.budget.epochs)))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; what was trained is kept in {folder}: start the same command again to go on"
        ) from None
    if record["status"] != "finished":
        failed = PolytaskError(record["error"])
        failed.add_note(record.get("trace", ""))
        raise failed
    say(
        f"Best epoch on validation data: {record['best_epoch']} of {len(record['epochs'])}; "
        f"{record['seconds']:.1f} s, {record['parameters']:,} parameters"
    )
    test = posed.splits["test"]
    show.scores(
        posed.tasks, "test", record["scores"]["test"], constant_scores(posed.tasks, posed.splits["train"], test)
    )
    say(f"Run: {folder}")


def transfer(
    problem: ProblemName,
    pretrain: tuple[str, ...] = (),
    target: str = "",
    sizes: tuple[Size, ...] = SIZES,
    recipes: tuple[Recipe, ...] = RECIPES,
    schema: Path | None = None,
    data_root: Path | None = None,
    balancer: Balancer = BALANCERS[0],
    sampler: Drawing = SHUFFLED,
    sharing: Architecture = HARD,
    backbone: Trunk = OWN,
    seeds: int | list[int] = 3,
    budget: Settings = {},  # noqa: B006 (read only)
    out: Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
) -> None:
    """Say whether training on other tasks first helps a task.

    The task is trained from scratch, fine-tuned and together with the others, with several numbers of its training
    labels and every seed, under one budget. Start the same command again to go on after an interruption.

    Args:
        problem: a name of `polytask list`, with settings as in "digits(n_train=500)", or a table with a schema
        pretrain: the tasks to train on first
        target: the task that is to profit
        sizes: numbers of its training labels, as in 100 1000 all; the others are hidden
        recipes: ways of fine-tuning, as in "FineTuning(freeze=(0,))" "FineTuning(thaw=1, factor=2.6, l2_sp=L2SP())"
        schema: a YAML file that says what the columns of a table are
        data_root: the folder of data sets on disk
        balancer: the balancing method where several tasks are trained together
        sampler: how tasks are sampled there, as in "Uniform(per='row')"
        sharing: the architecture of all networks, as in "HardSharing(shared_stages=1)"
        backbone: another trunk than the problem's own, as in "SmallCNN(channels=3, widths=(32, 64))"
        seeds: how many, or which ones; they draw the labels, too
        budget: of every network; what is not given is what the problem suggests
        out: the folder of the study; results/<problem>-transfer-<target> if not given
        jobs: networks trained at the same time; one per core if not given
        backend: of joblib, as in loky, dask, ray
        confidence: of the intervals
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else seeds
    posed = _posed(problem, (), schema, data_root, backbone)
    if not (pretrain and target):
        raise PolytaskError(
            "name the tasks to train on first and the one that is to profit, as in --pretrain "
            f"{posed.tasks[0].name} --target {posed.tasks[-1].name}; tasks: {', '.join(t.name for t in posed.tasks)}"
        )
    spent = _budget(posed, budget)
    folder = out or Path("results") / _slug(f"{posed.name} transfer {target}")
    asked = [each.recipe or FineTuning() for each in recipes]
    (arm,) = _sampled(_arms([sharing], [balancer], False, "auto", EXACT), [sampler])
    plan = Plan.of(posed, pretrain, target, sizes, asked, arm)
    plan.rehearse(spent, numbers, backend, confidence)
    workers(jobs, backend)
    show_transfer.plan(plan, numbers, spent, folder)
    with RunsProgress(folder) as progress:
        done = run_transfer(
            posed,
            pretrain,
            target,
            sizes,
            asked,
            arm,
            numbers,
            spent,
            folder,
            jobs=jobs,
            backend=backend,
            confidence=confidence,
            on_record=progress.over,
        )
    show_transfer.results(done.summary)
    say(f"Report: {write_transfer(done.summary, done.records, folder / 'report.html')}")


def evaluate(run: Path, split: str = "test", data_root: Path | None = None, trust: tuple[str, ...] = ()) -> None:
    """Score the network of a run folder again.

    Args:
        run: the folder of a run
        split: train, validation or test
        data_root: the folder of data sets on disk, if it has moved
        trust: modules of your own that the network is made with, which may be imported
    """
    saved = SavedRun.open(run, trust)
    posed = saved.problem(data_root)
    found = saved.scores(posed, split)
    constant = constant_scores(saved.tasks, posed.splits["train"], posed.splits[split])
    say(f"{saved.title}, {len(posed.splits[split]):,} rows of the {split} split")
    show.scores(saved.tasks, split, found, constant)


def predict(run: Path, data: Path, out: Path | None = None, trust: tuple[str, ...] = ()) -> None:
    """Predict for the rows of a new table, or for a folder of pictures.

    Of a table, predictions are added as columns, with probabilities and units. A row whose picture can't be read has
    none, and it is told. A table that lacks a column, or holds cells that do not fit, is refused.

    Maps (segmentation, depth, ...) are written as PNG files of the size of each picture: numbers (class, millimetres,
    ...) in one folder, colours to look at in another. Pictures that can't be read are left out and told.

    Args:
        run: the folder of a run
        data: a table with the columns that the network was trained on, or a folder of pictures
        out: the table with the predictions added, .csv or .parquet; for pictures a folder. If not given,
            predictions.csv, for pictures predictions
        trust: modules of your own that the network is made with, which may be imported
    """
    saved = SavedRun.open(run, trust)
    if data.is_dir() and not saved.of_table:
        show.pictures(predict_folder(saved, data, out or Path("predictions")))
        return
    if not data.exists() and not set(data.name) & set("*?["):
        raise PolytaskError(f"there is no file or folder {data}; give a table, or a folder of pictures")
    if data.suffix.lower() in ENDINGS:
        raise PolytaskError(f"{data} is one picture; give the folder that it is in: {data.parent}")
    target = out or Path("predictions.csv")
    if target.suffix not in {".csv", ".parquet", ".pq"}:
        raise PolytaskError(f"--out: expected a name that ends in .csv or .parquet, got {target}")
    if target.resolve() == data.resolve():
        raise PolytaskError(
            f"--out: {target} is the table to predict; give another name, so that it is not overwritten"
        )
    found = saved.predicted(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix in {".parquet", ".pq"}:
        found.table.write_parquet(target)
    else:
        flat(found.table).write_csv(target)
    show.predictions(found)
    say(f"Predictions: {target}")


def export(
    run: Path,
    out: Path | None = None,
    formats: tuple[Literal["onnx", "torch"], ...] = ("onnx",),
    tasks: tuple[str, ...] = (),
    apart: bool = True,
    decoded: bool = False,
    trust: tuple[str, ...] = (),
) -> None:
    """Write a trained network as files that run without polytask.

    There is one for all tasks, and one for each. A file holds nothing that its tasks do not need. ONNX files are run
    once and compared with torch.

    Args:
        run: the folder of a run
        out: the folder of the files; <run>/export if not given
        formats: onnx (.onnx, needs polytask[onnx]) and torch (.pt2, a program of torch.export)
        tasks: which; all if not given
        apart: also one file per task
        decoded: predictions as people read them (probabilities, metres), not as the network gives them
        trust: modules of your own that the network is made with, which may be imported
    """
    saved = SavedRun.open(run, trust)
    names = saved.model.asked(tasks or None)
    sets = {"all-tasks" if len(names) == len(saved.tasks) else file_name(" ".join(names)): names}
    if apart:
        sets |= {file_name(name): [name] for name in names}
    example = saved.form.example(2)
    folder = out or run / "export"
    for kind in formats:
        write_file, ending = EXPORTS[kind]
        for stem, chosen in sets.items():
            path = write_file(saved.model, example, folder / f"{stem}{ending}", chosen, decoded)
            say(f"{path}: {', '.join(chosen)} ({path.stat().st_size / 2**20:.2f} MiB)")


def report(study: Path) -> None:
    """Print the tables of a comparison, and write its report again.

    Args:
        study: the folder of the study
    """
    records = _records(study / "records.jsonl")
    if not (study / "study.json").exists() and (study / "auxiliaries.json").is_file():
        found = AuxiliarySummary.from_json(read_json(study / "auxiliaries.json"))
        show.brought(found)
        say(f"Report: {write_auxiliaries(found, records, study / 'report.html')}")
        return
    if not (study / "study.json").exists() and (study / "transfer.json").is_file():
        moved = TransferSummary.from_json(read_json(study / "transfer.json"))
        show_transfer.results(moved)
        say(f"Report: {write_transfer(moved, records, study / 'report.html')}")
        return
    summary = Summary.from_json(read_json(study / "study.json"))
    show.results(summary)
    path = write(summary, records, study / "report.html")
    say(f"Report: {path}")


def describe(
    problem: ProblemName,
    target: tuple[str, ...] = (),
    schema: Path | None = None,
    data_root: Path | None = None,
    balancers: tuple[Balancer, ...] = BALANCERS,
    sharing: Architecture = HARD,
    at_features: bool = False,
    way: Way = "auto",
    estimate: Part = EXACT,
    backbone: Trunk = OWN,
    seeds: int = 3,
    budget: Settings = {},  # noqa: B006 (read only)
    jobs: int | None = None,
) -> None:
    """Show data, what is shared, and what a comparison would cost.

    The cost is measured: a few steps of every way of training are made. Memory is counted, not measured.

    Args:
        problem: a name of `polytask list`, a .csv or .parquet file, or the folder of a run
        target: what to predict in a table, name:kind (binary, multiclass, multilabel, regression); may be repeated
        schema: a YAML file that says what the columns of a table are
        data_root: the folder of data sets on disk
        balancers: the balancing methods whose cost is measured
        sharing: the architecture, as in "HardSharing(shared_stages=1)"
        at_features: balance gradients at the shared features (as the papers of GradDrop and MGDA-UB do)
        way: how the gradients of all tasks are made: auto, sequential, batched, layerwise, two-pass
        estimate: weigh by a part of the gradients, as in "LastLayers(0.25)", the last quarter of the shared layers
        backbone: another trunk than the problem's own, as in "SmallCNN(channels=3, widths=(32, 64))"
        seeds: how many
        budget: of every network; what is not given is what the problem suggests
        jobs: networks trained at the same time; one per core if not given
    """
    if problem.run is not None:
        saved = SavedRun.open(problem.run)
        posed, spent = saved.problem(data_root), saved.budget
        arms, model = [saved.arm], saved.model
    else:
        posed = _posed(problem, target, schema, data_root, backbone)
        spent = _budget(posed, budget)
        arms = _arms([sharing], balancers, at_features, way, estimate)
        model = sharing.make(posed.backbone, posed.tasks)
    show.problem(posed)
    labels.details(posed.labels)
    show.sharing(model)
    show.costs(forecast(posed, arms, spent), seeds, spent, workers(jobs)[0])


def _arms(
    sharing: Sequence[Architecture],
    balancers: Sequence[Balancer],
    at_features: bool,
    way: Way,
    part: Part,
) -> list[Arm]:
    """Every architecture with every method; way and estimate go to the methods that weigh gradients.

    Raises:
        PolytaskError: none of them does.
    """
    whom = {
        "--way": (way, "auto", [each for each in balancers if not isinstance(each, LossBalancer)]),
        "--estimate": (part.estimate, None, [each for each in balancers if _whole_gramian(each)]),
    }
    for option, (given, usual, some) in whom.items():
        if given != usual and not some:
            raise PolytaskError(
                f"{option} is for methods that weigh the tasks by their gradients, as MGDA and PCGrad do; got "
                f"{' '.join(type(each).__name__ for each in balancers)}"
            )
    return [
        Arm(
            each.make,
            balancer,
            at_features,
            "auto" if isinstance(balancer, LossBalancer) else way,
            part.estimate if _whole_gramian(balancer) else None,
        )
        for each in sharing
        for balancer in balancers
    ]


def _sampled(arms: Sequence[Arm], samplers: Sequence[Drawing]) -> list[Arm]:
    """Every arm with every sampler."""
    return [replace(arm, sampler=each.sampler) for arm in arms for each in samplers or (SHUFFLED,)]


def _starting(arms: Sequence[Arm], posed: Problem) -> list[Arm]:
    """The arms; those whose architecture has a network per task start from the single-task ones.

    Raises:
        PolytaskError: none of them does.
    """
    able = {arm.sharing_name: can_start(arm.sharing(posed.backbone, posed.tasks)) for arm in arms}
    if not any(able.values()):
        raise PolytaskError(
            f"--from-single-task is for architectures with a network per task, as CrossStitch and NDDR; got "
            f"{', '.join(able)}"
        )
    return [replace(arm, from_single_task=able[arm.sharing_name]) for arm in arms]


def _recipe(asked: Recipe, start: Sequence[Path]) -> FineTuning | None:
    """How to go on from what is to be started from."""
    if asked.recipe is not None and not start:
        raise PolytaskError("--fine-tuning says how to go on from trained weights: give a run folder by --start")
    return asked.recipe or (FineTuning() if len(start) == 1 else None)


def _check_starts(job: Job) -> None:
    """What is to be started from was trained to the end: one run, or one for every task."""
    if isinstance(job.starts, Path):
        read_json(job.starts / "record.json")
        return
    wanted = [task.name for task in job.problem.tasks]
    if job.starts and set(job.starts) != set(wanted):
        raise PolytaskError(
            "--start: expected one run to go on from, or the run of a single-task network for every task "
            f"({', '.join(wanted)}), got runs of {', '.join(job.starts)}"
        )
    for folder in job.starts.values():
        read_json(folder / "record.json")


def _whole_gramian(balancer: Balancer) -> bool:
    """Whether it weighs by the Gramian of whole batches, which can be estimated."""
    return isinstance(balancer, GramianBalancer) and balancer.samples == 1


def _posed(
    named: ProblemName,
    target: Sequence[str],
    schema: Path | None,
    data_root: Path | None,
    backbone: Trunk,
) -> Problem:
    """The problem made; of a table, it is printed first what every column was taken for."""
    if named.is_table and not (target or schema or named.is_described or "targets" in named.call.args):
        raise PolytaskError("name what to predict in the table: --target column:kind (may be repeated)")
    settings = named.settings(targets=tuple(target), schema=schema, data_root=data_root)
    posed = named.make(settings)
    if posed.schema is not None:
        show.columns(posed.schema)
    return posed if backbone.make is None else replace(posed, backbone=backbone.on(posed))


def _budget(problem: Problem, given: Mapping[str, Any]) -> Budget:
    """What was given, else what the problem suggests, else the default."""
    return Budget().updated({**problem.suggested, **given})


def _quoted(word: str) -> str:
    """A word for a shell, in double quotes where these will do: names hold single ones."""
    return shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"'


def _records(path: Path) -> list[dict[str, Any]]:
    """The records of a study, one per line."""
    if not path.is_file():
        raise PolytaskError(f"there is no {path.name} in {path.parent}: it is not the folder of a study of polytask")
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise PolytaskError(f"{path} is not whole ({error}); run the comparison again to mend it") from None


def _slug(text: str) -> str:
    return re.sub(r"[^\w.=]+", "-", text).strip("-")[:80]
