"""Commands about one network: train it, score it, use it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from polytask.balancing import Balancer
from polytask.cli import show
from polytask.cli.arguments import Settings
from polytask.cli.catalogues import Architecture, Drawing, Part, ProblemName, Recipe, Trunk
from polytask.cli.commands.options import (
    BALANCERS,
    EXACT,
    HARD,
    OWN,
    SHUFFLED,
    Way,
    arms_of,
    budget_for,
    posed_by,
    sampled,
    slug,
)
from polytask.cli.pictures import predict_folder
from polytask.cli.progress import epoch_line
from polytask.cli.saved import SavedRun
from polytask.cli.tables import flat, short
from polytask.cli.text import file_name, say
from polytask.data.tables.schema import PICTURES
from polytask.deployment import export_onnx, export_program
from polytask.errors import PolytaskError
from polytask.study import Job, rehearse
from polytask.study import train as run_job
from polytask.training import FineTuning, constant_scores
from polytask.training.folder import read_json
from polytask.training.starting import by_task

USUAL = Recipe(None)
PARQUET = (".parquet", ".pq")
EXPORTS = {"onnx": (export_onnx, ".onnx"), "torch": (export_program, ".pt2")}


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
    posed = posed_by(problem, target, schema, data_root, backbone)
    (arm,) = sampled(arms_of([sharing], [balancer], at_features, way, estimate), [sampler])
    starts = start[0] if len(start) == 1 else by_task(start)
    arm = replace(arm, from_single_task=len(start) > 1, fine_tuning=_recipe(fine_tuning, start))
    job = Job(posed, arm, seed, budget_for(posed, budget), starts=starts)
    _check_starts(job)
    rehearse(posed, [arm], job.budget)
    folder = out or Path("results") / slug(f"{posed.name} {arm.name} seed {seed}")
    show.plan(posed, [arm.name], [seed], job.budget, folder, apart=False)
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

    Of a table, predictions are added as columns, with probabilities and units. A row whose picture is missing (where
    the network never met that) or can't be read has none, and it is told. A table that lacks a column, or holds cells
    that do not fit, is refused.

    A network that was trained on a table with one column of pictures, and reads nothing else, predicts the pictures of
    a folder that holds any; tables beside them are left out, and that is told. Any other folder is read as a table.

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
    if data.suffix.lower() in PICTURES:
        raise PolytaskError(f"{data} is one picture; give the folder that it is in: {data.parent}")
    saved.check_of_table()
    target = out or Path("predictions.csv")
    if target.suffix.lower() not in {".csv", *PARQUET}:
        raise PolytaskError(f"--out: expected a name that ends in .csv or .parquet, got {target}")
    if target.resolve() == data.resolve():
        raise PolytaskError(
            f"--out: {target} is the table to predict; give another name, so that it is not overwritten"
        )
    found = saved.predicted(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix.lower() in PARQUET:
        found.table.write_parquet(target)
    else:
        flat(short(found.table, found.added)).write_csv(target)
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
    folder = out or saved.folder / "export"
    for kind in formats:
        write_file, ending = EXPORTS[kind]
        for stem, chosen in sets.items():
            path = write_file(saved.model, example, folder / f"{stem}{ending}", chosen, decoded)
            say(f"{path}: {', '.join(chosen)} ({path.stat().st_size / 2**20:.2f} MiB)")


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
