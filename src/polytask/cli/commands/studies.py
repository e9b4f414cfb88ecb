"""Commands that train many networks and say what follows from them."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from polytask.balancing import (
    Balancer,
    GradientSimilarity,
    TaskwiseStopping,
)
from polytask.cli import show, show_transfer
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
    lacks_targets,
    named_targets,
    posed_by,
    sampled,
    slug,
)
from polytask.cli.finished import AUXILIARIES, COMPARISON, TRANSFER, UNSEEN, tell_again
from polytask.cli.progress import RunsProgress
from polytask.cli.text import counted, say
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import Conditioned
from polytask.sharing.starting import can_start
from polytask.study import Arm, Dirichlet, Sampler, rehearse, search_weights
from polytask.study import auxiliaries as run_auxiliaries
from polytask.study import compare as run_study
from polytask.study import split_levels as study_levels
from polytask.study import transfer as run_transfer
from polytask.study import unseen as run_unseen
from polytask.study.auxiliary_networks import planned, with_main
from polytask.study.running import seeds_of, workers
from polytask.study.transfer import Plan, Size
from polytask.study.unseen import groups_of
from polytask.training import FineTuning

FOR_AUXILIARIES: tuple[Balancer, ...] = (GradientSimilarity(), TaskwiseStopping())
TOLD = Architecture(partial(Conditioned, one_head=True))
RECIPES = (Recipe(FineTuning()), Recipe(FineTuning(thaw=1, factor=2.6)))
DIRICHLET = Dirichlet()


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
    numbers = seeds_of(seeds)
    posed = posed_by(problem, target, schema, data_root, backbone)
    spent = budget_for(posed, budget)
    tasks = [task.name for task in posed.tasks] if problem.is_table else []
    folder = out or Path("results") / slug(" ".join([posed.name, *tasks]))
    arms = sampled(arms_of(sharing, balancers, at_features, way, estimate), samplers)
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
    COMPARISON.tell(done.summary, done.records, folder)
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
        main: a task that counts, all others are auxiliary then; may be repeated. If not given, as they are marked. In a
            table whose targets nothing names yet, column or column:kind
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
    numbers = seeds_of(seeds)
    bare = bool(main) and lacks_targets(problem, schema)
    columns, mains = named_targets(main, target) if bare else (target, [])
    posed = posed_by(problem, columns, schema, data_root, backbone)
    posed = with_main(posed, [posed.tasks[place].name for place in mains] if bare else main)
    spent = budget_for(posed, budget)
    arm, *others = (Arm(sharing.make, each) for each in (balancer, *also))
    counted_in = [task.name for task in posed.tasks if not task.auxiliary]
    folder = out or Path("results") / slug(" ".join([posed.name, "auxiliaries", *counted_in]))
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
    AUXILIARIES.tell(found.summary, found.records, folder)


def transfer(
    problem: ProblemName,
    pretrain: tuple[str, ...] = (),
    target: str = "",
    sizes: tuple[Size, ...] = (),
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
        problem: a name of `polytask list`, with settings as in "digits(n_train=500)", or a .csv or .parquet file
        pretrain: the tasks to train on first; in a table whose targets nothing names yet, column or column:kind
        target: the task that is to profit; in such a table column or column:kind
        sizes: numbers of its training labels, as in 50 200 all, the others are hidden; 100, 1000 (as far as there are
            so many) and all if not given
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
    numbers = seeds_of(seeds)
    columns = (*pretrain, target) if pretrain and target and lacks_targets(problem, schema) else ()
    posed = posed_by(problem, columns, schema, data_root, backbone)
    names = tuple(task.name for task in posed.tasks)
    pretrain, target = (names[:-1], names[-1]) if columns else (pretrain, target)
    if not (pretrain and target):
        raise PolytaskError(
            "name the tasks to train on first and the one that is to profit, as in --pretrain "
            f"{names[0]} --target {names[-1]}; tasks: {', '.join(names)}"
        )
    spent = budget_for(posed, budget)
    folder = out or Path("results") / slug(f"{posed.name} transfer {target}")
    asked = [each.recipe or FineTuning() for each in recipes]
    (arm,) = sampled(arms_of([sharing], [balancer], False, "auto", EXACT), [sampler])
    plan = Plan.of(posed, pretrain, target, sizes or None, asked, arm)
    plan.rehearse(spent, numbers, backend, confidence)
    workers(jobs, backend)
    show_transfer.plan(plan, numbers, spent, folder)
    with RunsProgress(folder) as progress:
        done = run_transfer(
            posed,
            pretrain,
            target,
            plan.sizes,
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
    TRANSFER.tell(done.summary, done.records, folder)


def unseen(
    problem: ProblemName,
    data_root: Path | None = None,
    groups: int = 4,
    leave_out: tuple[str, ...] = (),
    balancer: Balancer = BALANCERS[0],
    sampler: Drawing = SHUFFLED,
    sharing: Architecture = TOLD,
    backbone: Trunk = OWN,
    seeds: int | list[int] = 3,
    budget: Settings = {},  # noqa: B006 (read only)
    out: Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
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
        balancer: the balancing method, as in "Uncertainty(learning_rate=0.02)"
        sampler: how tasks or data sets are sampled, as in "Uniform(per='batch')"
        sharing: an architecture that is told its task, as in "Conditioned(by=Gating(), one_head=True)"
        backbone: another trunk than the problem's own
        seeds: how many, or which ones
        budget: of every network; what is not given is what the problem suggests
        out: the folder of the study; results/<problem>-unseen if not given
        jobs: networks trained at the same time; one per core if not given
        backend: of joblib, as in loky, dask, ray
        confidence: of the intervals
    """
    numbers = seeds_of(seeds)
    posed = posed_by(problem, (), None, data_root, backbone)
    spent = budget_for(posed, budget)
    folder = out or Path("results") / slug(f"{posed.name} unseen")
    asked = groups_of(posed, [leave_out] if leave_out else groups)
    (arm,) = sampled(arms_of([sharing], [balancer], False, "auto", EXACT), [sampler])
    show.problem(posed)
    show.left_out(asked, numbers, spent, folder)
    with RunsProgress(folder) as progress:
        found = run_unseen(
            posed, asked, arm, numbers, spent, folder,
            jobs=jobs, backend=backend, confidence=confidence, on_record=progress.over,
        )  # fmt: skip
    UNSEEN.tell(found.summary, found.records, folder)


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
    numbers = seeds_of(seeds)
    posed = posed_by(problem, target, schema, data_root, backbone)
    spent = budget_for(posed, budget)
    folder = out or Path("results") / slug(f"{posed.name} search")
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


def report(study: Path) -> None:
    """Print the tables of a study, and write its report again.

    Args:
        study: the folder of a study of compare, auxiliaries, transfer or unseen
    """
    tell_again(study)


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


def _quoted(word: str) -> str:
    """A word for a shell, in double quotes where these will do: names hold single ones."""
    return shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"'
