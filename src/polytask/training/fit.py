"""`fit`: a training loop for those who want one."""

import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import polytask
from polytask._plain import plain
from polytask.balancing import Balanced, Balancer, Equal, LastLayers, NonFinite, shared_gramian
from polytask.balancing.gradients import keep_shared
from polytask.data import Batches, Sampler, TensorData, draw_number
from polytask.errors import PolytaskError
from polytask.evaluation import cosines, norms
from polytask.sharing import MultiTaskModel
from polytask.tasks import Task
from polytask.training.budget import Budget
from polytask.training.checkpoint import load_state, random_state, set_random_state
from polytask.training.drawing import Remaining, drawing
from polytask.training.evaluate import (
    Scores,
    at_once,
    constant_scores,
    evaluate,
    fresh_metrics,
    selection_score,
)
from polytask.training.folder import RunFolder
from polytask.training.memory import kept_bytes, step_bytes
from polytask.training.optimizer import make_optimizer
from polytask.training.progress import Progress, means, stacked
from polytask.training.steps import Steps
from polytask.training.telling import flat, stopped_by, weights_lost
from polytask.training.watching import Pass

_DTYPES = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingError(PolytaskError):
    """Training can't go on; what was saved until then is in the run folder."""


@dataclass(frozen=True)
class Fitted:
    """What a training gave; the model holds the weights of the best epoch.

    Args:
        epochs: one plain dict per epoch: losses, weights, validation scores, conflict, time.
        best_epoch: the epoch with the best validation score, counted from 1.
        score: that score (see `Budget.select`).
        steps, skipped: optimizer steps, and those left out because a loss was not finite.
        seconds: training time without evaluation.
        memory_mib: parameters, gradients, optimizer state, what autograd keeps in a step and what balancing holds
            (`balancing.forecast`), counted, so the same everywhere; on CUDA the peak of the device instead.
    """

    epochs: list[dict[str, Any]]
    best_epoch: int
    score: float
    steps: int
    skipped: int
    seconds: float
    memory_mib: float


def fit(
    model: nn.Module,
    tasks: Sequence[Task],
    train: TensorData,
    validation: TensorData,
    balancer: Balancer | None = None,
    budget: Budget | None = None,
    *,
    seed: int = 0,
    folder: Path | str | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    at_features: bool = False,
    way: str = "auto",
    estimate: LastLayers | None = None,
    samples_per_epoch: int | None = None,
    sampler: Sampler | None = None,
    probe: bool = False,
    checkpoint_every: int | None = None,
    trackers: Sequence[str] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Fitted:
    """Train a network on several tasks, choose its best epoch on validation data, and leave it with those weights.

    With a folder, the whole state is saved after every epoch (and every `checkpoint_every` steps); the same
    call goes on from there, and ends with the same weights to the last bit as if it had never been stopped.
    Runs under `torchrun` and `accelerate launch`: every process computes its share of each batch, losses and
    gradients are averaged before they are balanced, and the result is that of one process on whole batches.

    Args:
        model: (inputs, task names) -> {task: prediction}; do not wrap it in DistributedDataParallel.
        tasks: what it learns, fitted on the training labels.
        train, validation: the data; nothing else is looked at.
        samples_per_epoch: how many training samples make an epoch, by default all of them once; a larger number goes
            on with a new order of them. So a network with fewer labelled rows gets as many steps as its rivals.
        sampler: draws the samples from the tasks or, where the data are a mixture, from its data sets; by default all
            samples are shuffled together. One that fills a batch from one pool (`per="batch"`) makes batches of one
            task; a balancer of gradients needs several, so its step is made of one such batch from as many pools as
            there are, or as pieces are accumulated, of `batch_size` samples together.
        balancer: how the tasks are weighed; `Equal()` by default. It is bound to the tasks here. One that works at the
            shared features only (GREAT) gets them. One that compares two halves of every batch (MoDo, SDMGrad)
            gets at least two pieces, an even number: `Budget.accumulate` is rounded up. Statistics of the batch, those
            of BatchNorm for instance, are then of pieces.
        budget: how long and how; `Budget()` by default.
        seed: of the batch order, of augmentation and of dropout. (The model was initialised before, by you.)
        folder: where the run is kept.
        reference: validation scores by task and metric that delta_m is measured against, say those of single-task
            networks; by default those of the best constant prediction.
        at_features: balance gradients at the shared features (the model gives them: `forward_with_features`). A loss
            balancer makes no difference between them and parameters.
        way: how the gradients of all tasks are made; see `balancing.backward`. It changes time and memory only.
        estimate: weigh by the last of the shared layers only, `balancing.LastLayers(0.25)`.
        probe: note cosines and lengths of the task gradients at the first step of every epoch (one more backward pass
            per task there, not counted in the training time).
        checkpoint_every: steps.
        trackers: names of Accelerate trackers; by default TensorBoard where it is installed and there is a folder.
        on_epoch: called with the plain dict of every epoch.

    Raises:
        TrainingError: a loss became NaN or infinite (and the budget does not skip such steps).
        PolytaskError: data, tasks or settings that do not fit together, a model without the features or the graph
            that they need, a folder of another run, a full disk.

    Cost: the network's own steps; see the balancer for its backward passes.

    >>> import torch
    >>> from polytask.sharing import MLP, HardSharing
    >>> from polytask.tasks import Regression
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> data = TensorData(x, {"sum": x.sum(1), "first": x[:, 0]})
    >>> tasks = [Regression("sum"), Regression("first")]
    >>> model = HardSharing(MLP(inputs=3, widths=(8,)), tasks)
    >>> fitted = fit(model, tasks, data, data, budget=Budget(epochs=2, batch_size=16))
    >>> fitted.steps, len(fitted.epochs)
    (8, 2)
    """
    training = _Training(
        model, tasks, train, validation, balancer or Equal(), budget or Budget(), seed, folder, reference,
        at_features, way, estimate, samples_per_epoch, sampler, probe, checkpoint_every, trackers,
    )  # fmt: skip
    return training.run(on_epoch or (lambda epoch: None))


class _Training:
    """The state of one call of `fit`."""

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        train: TensorData,
        validation: TensorData,
        balancer: Balancer,
        budget: Budget,
        seed: int,
        folder: Path | str | None,
        reference: Mapping[str, Mapping[str, float]] | None,
        at_features: bool,
        way: str,
        estimate: LastLayers | None,
        samples_per_epoch: int | None,
        sampler: Sampler | None,
        probe: bool,
        checkpoint_every: int | None,
        trackers: Sequence[str] | None,
    ) -> None:
        self.model, self.tasks, self.balancer, self.budget, self.seed = (
            model,
            tuple(tasks),
            balancer,
            budget,
            seed,
        )
        self.train, self.validation = train, validation
        changed = _changed(way=(way, "auto"), estimate=(estimate, None), sampler=(sampler, None))
        self.asked = {"at_features": at_features, **changed}
        self.probe, self.checkpoint_every = probe, checkpoint_every
        self.names = [task.name for task in self.tasks]
        _check(self.tasks, train, validation, model)
        self.folder = None if folder is None else RunFolder(Path(folder))
        if trackers is None:
            trackers = ["tensorboard"] if self.folder and importlib.util.find_spec("tensorboard") else []
        self.accelerator = Accelerator(  # without cpu=True it overlooks the other processes where there is no GPU
            cpu=not torch.accelerator.is_available(), log_with=list(trackers) or None, project_dir=folder
        )
        self.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        precision = budget.precision or str(self.accelerator.mixed_precision)
        if precision not in _DTYPES:
            raise PolytaskError(f"precision must be one of {', '.join(_DTYPES)}, got '{precision}'")
        dtype = _DTYPES[precision]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.scaler.scale(torch.ones((), device=self.device))  # it makes its own scale at the first use
        model.to(self.device).train()
        balancer.bind(self.tasks)
        if isinstance(model, MultiTaskModel):  # also in a batch with labels of one task only
            users = model.shared_by()
            keep_shared(p for name, p in model.named_parameters() if p.requires_grad and len(users[name]) > 1)
        self.batches = drawing(
            train, sampler, balancer, budget, seed=seed, samples=samples_per_epoch, rank=self.rank, world=self.world
        )
        self.steps = Steps(
            model,
            self.tasks,
            self.batches.drawn,
            balancer,
            budget.accumulate,
            at_features=at_features,
            way=way,
            estimate=estimate,
            device=self.device,
            precision=(lambda: torch.autocast(self.device.type, dtype)) if dtype else nullcontext,
            rank=self.rank,
            world=self.world,
            groups=self.batches.groups,
        )
        if isinstance(balancer, nn.Module):
            balancer.to(self.device)
        self.optimizer = make_optimizer(budget, model, balancer)
        self.learned = [each for group in self.optimizer.param_groups for each in group["params"]]
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.total_steps = budget.epochs * len(self.batches)
        if not reference and budget.select is None:
            reference = constant_scores(self.tasks, train, validation, self.device)
        self.score = selection_score(self.tasks, reference or {}, budget.select)
        self.remaining: Remaining | None = None
        if sampler is not None and sampler.needs_errors:
            against = reference or constant_scores(self.tasks, train, validation, self.device)
            self.remaining = Remaining(list(self.batches.drawn.pools()), self.tasks, validation, against)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        fits = -(-budget.batch_size // budget.accumulate)  # a step needs more memory than looking at as many samples
        self.evaluated_at_once = max(fits, at_once(self.tasks, validation, 8 * budget.batch_size))
        self.metrics = fresh_metrics(self.tasks, self.device)
        self.progress = Progress()
        self.last: Balanced | None = None
        self.best_weights: dict[str, Tensor] = {}
        self._start(trackers)

    def _start(self, trackers: Sequence[str]) -> None:
        torch.manual_seed(self.seed * 7919 + self.rank)
        if self.folder is not None:
            if self.accelerator.is_main_process:
                self.folder.begin(self._settings())
            self.accelerator.wait_for_everyone()
            if self.folder.begun:
                self._load(self.folder)
        if self.world > 1:  # all begin with the weights of process 0
            for tensor in [*self.model.parameters(), *self.model.buffers()]:
                torch.distributed.broadcast(tensor.data, 0)
        if trackers:
            self.accelerator.init_trackers("tracking")

    def _settings(self) -> dict[str, Any]:
        return {
            "tasks": [task.describe() for task in self.tasks],
            "model": {name: list(p.shape) for name, p in self.model.named_parameters()},
            **(self.model.settings if isinstance(self.model, MultiTaskModel) else {}),
            "balancer": plain(self.balancer),
            **self.asked,
            "budget": plain(self.budget),
            "seed": self.seed,
            "samples_per_epoch": self.batches.samples,
            "data": {"train": self.train.fingerprint(), "validation": self.validation.fingerprint()},
            "versions": {"polytask": polytask.__version__, "torch": torch.__version__},
        }

    def run(self, on_epoch: Callable[[dict[str, Any]], None]) -> Fitted:
        progress = self.progress
        while progress.epoch < self.budget.epochs and not progress.stopped:
            self._epoch()
            epoch = self._judge()
            if self.folder is not None:
                self._save(self.folder)
            if self.accelerator.trackers:
                self.accelerator.log(flat(epoch), step=progress.step)
            on_epoch(epoch)
        for tracker in self.accelerator.trackers:  # not `end_training`, which ends the process group as well
            tracker.finish()
        if self.folder is not None and not self.best_weights:
            self.best_weights = self.folder.load_best()
        load_state(self.model, self.best_weights, self.folder.path if self.folder else "the best epoch")
        best = progress.best if progress.best is not None else float("nan")
        return Fitted(
            progress.epochs, progress.best_epoch, best, progress.step, progress.skipped, progress.seconds,
            progress.memory / 2**20,
        )  # fmt: skip

    def _epoch(self) -> None:
        """The rest of the epoch under way."""
        progress = self.progress
        if isinstance(self.model, MultiTaskModel):
            self.model.begin_epoch(progress.epoch, self.budget.epochs)
        begun = time.perf_counter()
        for whole in self._batches().indices():
            looked = self._step(whole)
            progress.batch += 1
            if self.checkpoint_every and progress.step % self.checkpoint_every == 0 and self.folder is not None:
                progress.seconds += time.perf_counter() - begun
                self._save(self.folder)
                begun = time.perf_counter()
            begun += looked
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        progress.seconds += time.perf_counter() - begun
        self.balancer.end_epoch()

    def _batches(self) -> Batches:
        """The rest of those of the epoch under way."""
        errors = None if self.progress.errors is None else list(self.progress.errors.values())
        return self.batches.at(self.progress.epoch, self.progress.batch, errors)

    def _step(self, whole: Tensor) -> float:
        """One optimizer step on the samples `whole`; returns the seconds spent on looking at conflict."""
        progress = self.progress
        factor = self.budget.schedule(progress.step / self.total_steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        looked, kept = 0.0, 0

        def first(seen: Pass, pieces: int) -> None:
            nonlocal looked, kept
            if self.probe and progress.batch == 0:
                looked = self._look(seen.losses)
            if self._more_learns():
                held = round(self.steps.forecast(seen, pieces).memory_mib * 2**20)
                objectives = [*seen.losses.values(), *([] if seen.penalty is None else [seen.penalty])]
                kept = kept_bytes(self.model, objectives) + held

        scale = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
        try:
            balanced = self.steps.gradients(whole, scale, first, draw_number(self.seed, progress.step))
        except NonFinite as error:
            self._not_finite(error)
            return looked
        if balanced is None:  # not one label in the whole batch
            return 0.0
        taken = self._update()
        self._remember(balanced)
        if self._more_learns():  # (than when it was counted last: layers thaw)
            progress.memory = max(progress.memory, self._memory(kept + self.steps.penalty.bytes))
            progress.learning = self._learning()
        for parameter in self.learned:
            parameter.grad = None
        if taken:
            self.steps.look(whole)
        return looked

    def _more_learns(self) -> bool:
        """Whether a step takes more memory than was counted."""
        return self._learning() > self.progress.learning

    def _learning(self) -> int:
        """How many parameter tensors learn at present."""
        return sum(each.requires_grad for each in self.learned)

    def _update(self) -> bool:
        """One step of the optimizer; whether it was taken: a gradient scaler leaves out those that overflowed."""
        scaled = self.scaler.is_enabled()
        if self.budget.clip is not None:
            if scaled:
                self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.budget.clip)
        if not scaled:
            self.optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= before

    def _look(self, found: Mapping[str, Tensor]) -> float:
        """Note cosines and lengths of the task gradients at this point of the training."""
        begun = time.perf_counter()
        self.progress.conflict = None
        gramian = shared_gramian(list(found.values()))
        if len(found) > 1 and bool((gramian.diagonal() > 0).any()):
            self.progress.conflict = plain(
                {"tasks": list(found), "cosine": cosines(gramian).tolist(), "norm": norms(gramian).tolist()}
            )
        return time.perf_counter() - begun

    def _remember(self, balanced: Balanced) -> None:
        progress = self.progress
        progress.step += 1
        losses, weights = progress.seen.setdefault(balanced.tasks, ([], []))
        losses.append(balanced.losses)
        if balanced.weights is not None:
            weights.append(balanced.weights)
        if self.steps.penalty.value is not None:
            progress.penalties.append(self.steps.penalty.value)
        self.last = balanced

    def _memory(self, kept: int) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return step_bytes(self.model, self.optimizer, kept)

    def _not_finite(self, error: NonFinite) -> None:
        progress = self.progress
        self.optimizer.zero_grad(set_to_none=True)
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            raise TrainingError(weights_lost(progress)) from error
        if self.budget.non_finite == "skip":
            progress.skipped += 1
            progress.step += 1
            return
        raise TrainingError(stopped_by(error, progress, self.last, self.folder)) from error

    def _judge(self) -> dict[str, Any]:
        """Close the epoch: validation scores, the best epoch so far, early stopping."""
        progress = self.progress
        begun = time.perf_counter()
        inside = self.model.inside() if isinstance(self.model, MultiTaskModel) else {}
        if self.world > 1:  # running statistics, say of batch norm, are those of process 0 for all
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)
        scores: Scores = evaluate(
            self.model, self.tasks, self.validation, self.device, self.evaluated_at_once, self.metrics
        )
        score = self.score(scores)
        drawn = self._batches().shares()
        if self.remaining is not None:
            progress.errors = self.remaining.errors(self.model, scores, self.device, self.evaluated_at_once)
        progress.epoch += 1
        progress.batch = 0
        train = means(progress.seen, self.names)
        self.balancer.judged(_losses(train), _losses(scores))
        epoch = {
            "epoch": progress.epoch,
            "step": progress.step,
            "seconds": progress.seconds,
            "evaluation_seconds": time.perf_counter() - begun,
            "learning_rate": self._learning_rate(),
            "score": score,
            "train": train,
            "validation": scores,
            "conflict": progress.conflict,
            **({"penalty": statistics.fmean(progress.penalties)} if progress.penalties else {}),
            **({"drawn": drawn} if drawn else {}),
            **({"inside": inside} if inside else {}),
        }
        progress.epochs.append(plain(epoch))
        progress.seen, progress.penalties, progress.conflict = {}, [], None
        if progress.best is None or score > progress.best or (math.isnan(progress.best) and not math.isnan(score)):
            progress.best, progress.best_epoch = score, progress.epoch
            self.best_weights = {name: each.detach().cpu().clone() for name, each in self.model.state_dict().items()}
            if self.folder is not None and self.accelerator.is_main_process:
                self.folder.save_best(self.best_weights)
        patience = self.budget.patience
        progress.stopped = patience is not None and progress.epoch - progress.best_epoch >= patience
        return progress.epochs[-1]

    def _learning_rate(self) -> float:
        """That of the last step, of the groups that have the budget's own (a model's first one may have another)."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        usual = (lr for lr, own in zip(rates, self.rates, strict=True) if own == self.budget.learning_rate)
        return float(next(usual, rates[0]))

    def _save(self, folder: RunFolder) -> None:
        randoms = self._everyones_random_state()
        if not self.accelerator.is_main_process:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "balancer": self.balancer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": randoms,
            "progress": vars(self.progress) | {"seen": stacked(self.progress.seen)},
        }
        folder.save(state, self.progress.epochs)

    def _load(self, folder: RunFolder) -> None:
        state = folder.load()
        missing = {"model", "optimizer", "balancer", "scaler", "progress", "random"} - state.keys()
        if missing:
            raise PolytaskError(
                f"{folder.path / 'checkpoint.safetensors'} is not the checkpoint of a training: it lacks "
                f"{', '.join(sorted(missing))}; delete it to begin this run anew"
            )
        load_state(self.model, state["model"], folder.path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.balancer.load_state_dict(state["balancer"])
        self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        self.progress.seen = {names: ([*losses], [*weights]) for names, (losses, weights) in self.progress.seen.items()}
        if self.rank < len(state["random"]):
            set_random_state(state["random"][self.rank])

    def _everyones_random_state(self) -> list[dict[str, Tensor]]:
        own = random_state()
        if self.world == 1:
            return [own]
        everyone: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(everyone, own)
        return everyone


def _check(tasks: Sequence[Task], train: TensorData, validation: TensorData, model: nn.Module) -> None:
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise PolytaskError(
            "give fit the model itself, not wrapped in DistributedDataParallel: fit averages over processes"
        )
    for split, data in {"training": train, "validation": validation}.items():
        labels = data.counts()
        for task in tasks:
            if not labels.get(task.name):
                raise PolytaskError(
                    f"task '{task.name}' has no label in the {split} data ({len(data)} rows, tasks with labels: "
                    f"{[name for name, count in labels.items() if count]}); give it labels there or drop the task"
                )


def _losses(scores: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """The mean loss of every task that has one."""
    return {name: loss for name, each in scores.items() if (loss := each["loss"]) is not None}


def _changed(**settings: tuple[Any, Any]) -> dict[str, Any]:
    """Settings (each with its default) as plain data, without those that are not changed: run folders from before they
    existed hold none."""
    return {name: plain(value) for name, (value, usual) in settings.items() if value != usual}
