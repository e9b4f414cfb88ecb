"""From records to what a line chart draws: one value per epoch and seed, brought together over the seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polytask.study.report.numbers import finite

POINTS = 160  # more epochs than this are thinned for drawing
Record = Mapping[str, Any]
Epoch = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """Mean, lowest and highest value over the seeds that reached each epoch. Axes: epoch."""

    x: tuple[float, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    seeds: tuple[int, ...]

    def values(self) -> list[float]:
        """The means that exist."""
        return [value for value in self.mean if value is not None]

    def constant(self) -> bool:
        """Whether nothing moves: one value in all epochs and seeds."""
        ends = [value for value in (*self.low, *self.high) if value is not None]
        return bool(ends) and max(ends) - min(ends) <= 1e-6 * max(1.0, abs(max(ends)))


def finished(records: Iterable[Record], arm: str) -> list[Record]:
    """The finished runs of one arm."""
    return [record for record in records if record.get("arm") == arm and record.get("status") == "finished"]


def over_seeds(records: Iterable[Record], value: Callable[[Epoch], Any]) -> Series | None:
    """Bring `value(epoch)` of all runs together by epoch; None when no run has any.

    A run that stopped early leaves the mean from then on; `Series.seeds` says how many are left.
    """
    found: dict[float, list[float]] = {}
    for record in records:
        for index, epoch in enumerate(record.get("epochs") or ()):
            number = finite(value(epoch))
            if number is not None:
                at = finite(epoch.get("epoch"))
                found.setdefault(index + 1.0 if at is None else at, []).append(number)
    if not found:
        return None
    x = sorted(found)
    stride = -(-len(x) // POINTS)
    x = [at for index, at in enumerate(x) if index % stride == 0 or index == len(x) - 1]
    return Series(
        tuple(x),
        tuple(sum(found[at]) / len(found[at]) for at in x),
        tuple(min(found[at]) for at in x),
        tuple(max(found[at]) for at in x),
        tuple(len(found[at]) for at in x),
    )


def get(epoch: Any, *path: str) -> Any:
    """`epoch[path[0]][path[1]]...`, or None where something on the way is missing or null.

    >>> get({"train": {"left": None}}, "train", "left", "weight") is None
    True
    """
    for key in path:
        if not isinstance(epoch, Mapping):
            return None
        epoch = epoch.get(key)
    return epoch


def between_tasks(
    first: str, second: str, read: Callable[[Mapping[str, Any], int, int], Any]
) -> Callable[[Epoch], Any]:
    """A reader of `epoch["conflict"]` for one pair of tasks: `read(conflict, i, j)`."""

    def value(epoch: Epoch) -> Any:
        conflict = epoch.get("conflict")
        names: Sequence[str] = list(get(conflict, "tasks") or ())
        if first not in names or second not in names:
            return None
        try:
            return read(conflict, names.index(first), names.index(second))  # type: ignore[arg-type]
        except (LookupError, TypeError, ZeroDivisionError):
            return None

    return value


def cosine(conflict: Mapping[str, Any], first: int, second: int) -> Any:
    """The cosine of the two tasks' gradients."""
    return conflict["cosine"][first][second]


def ratio(conflict: Mapping[str, Any], first: int, second: int) -> Any:
    """Length of the first task's gradient over that of the second's."""
    return conflict["norm"][first] / conflict["norm"][second] or None
