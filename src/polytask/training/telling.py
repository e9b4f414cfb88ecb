"""What a training tells: of an epoch to a tracker, and why it can't go on."""

from collections.abc import Mapping
from typing import Any

from polytask.balancing import Balanced, NonFinite
from polytask.training.folder import RunFolder
from polytask.training.progress import Progress


def flat(epoch: Mapping[str, Any]) -> dict[str, float]:
    """An epoch as one level of numbers for a tracker."""
    found = {name: epoch[name] for name in ("score", "learning_rate", "seconds", "penalty") if name in epoch}
    for split in ("train", "validation"):
        found |= {
            f"{split}/{task}/{name}": value for task, each in epoch[split].items() for name, value in each.items()
        }
    for panel, lines in epoch.get("inside", {}).items():
        found |= {f"inside/{panel}/{line}": value for line, value in lines.items()}
    if epoch["conflict"]:
        tasks, cosine = epoch["conflict"]["tasks"], epoch["conflict"]["cosine"]
        found |= {f"cosine/{a}, {b}": cosine[i][j] for i, a in enumerate(tasks) for j, b in enumerate(tasks) if i < j}
    return {name: value for name, value in found.items() if value is not None}


def weights_lost(progress: Progress) -> str:
    """The network itself is no longer finite."""
    return (
        f"the network's own weights are no longer finite at step {progress.step + 1} (epoch "
        f"{progress.epoch + 1}): the gradient of an earlier step was not, although its losses were; lower the "
        "learning rate, clip the gradient (clip), or look for a square root, division or logarithm of 0 in the model"
    )


def stopped_by(error: NonFinite, progress: Progress, last: Balanced | None, folder: RunFolder | None) -> str:
    """A loss, a gradient or the model's penalty is not finite; what was known one step before, and what to do."""
    before = dict(zip(last.tasks, last.losses.tolist(), strict=True)) if last else {}
    seen = ", ".join(f"{name!r} was {before[name]:.4g}" for name in error.tasks if name in before)
    told = f"; one step before, the loss of {seen}" if seen else ""
    if last is None:
        told = "; no step came before it in this session"
    kept = f"; epochs 1 to {progress.epoch} are kept in {folder.path}" if folder and progress.epoch else ""
    return (
        f"the {error.what} of {' and '.join(repr(name) for name in error.tasks)} became "
        f"{', '.join(str(error.values[name]) for name in error.tasks)} at step {progress.step + 1} (epoch "
        f"{progress.epoch + 1}){told}{kept}. Lower the learning rate, clip the gradient (clip), look at the data, or "
        "skip such steps (non_finite: skip)"
    )
