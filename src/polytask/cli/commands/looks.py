"""Commands that show what there is, before anything is trained."""

import shlex
from pathlib import Path

from polytask.balancing import Balancer
from polytask.cli import labels, show
from polytask.cli.arguments import Settings
from polytask.cli.catalogues import Architecture, Part, ProblemName, Trunk
from polytask.cli.commands.options import BALANCERS, EXACT, HARD, OWN, Way, arms_of, budget_for, posed_by
from polytask.cli.forecast import forecast
from polytask.cli.init import described, relative, written
from polytask.cli.listing import catalogue
from polytask.cli.saved import SavedRun
from polytask.cli.text import say
from polytask.data.tables import mark_missing, open_table
from polytask.data.tables.images import folder_of
from polytask.study.running import workers


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
        posed = posed_by(problem, target, schema, data_root, backbone)
        spent = budget_for(posed, budget)
        arms = arms_of([sharing], balancers, at_features, way, estimate)
        model = sharing.make(posed.backbone, posed.tasks)
    show.problem(posed)
    labels.details(posed.labels)
    show.sharing(model)
    show.costs(forecast(posed, arms, spent), seeds, spent, workers(jobs)[0])
