"""What `fit` tells a balancer after every epoch, and auxiliary tasks that stop."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from training_cases import data, flat, model, tasks, train

from polytask import balancing
from polytask.tasks import Task


@dataclass(frozen=True)
class Listening(balancing.Equal):
    """Remembers what it was told, outside of itself."""

    def judged(self, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
        HEARD.append((dict(train), dict(validation)))


HEARD: list[tuple[dict[str, float], dict[str, float]]] = []


def test_mean_losses_of_both_splits_after_every_epoch() -> None:
    HEARD.clear()
    _, fitted = train(Listening())
    assert len(HEARD) == 2
    for (learned, judged), epoch in zip(HEARD, fitted.epochs, strict=True):
        assert learned == {name: told["loss"] for name, told in epoch["train"].items()}
        assert judged == {name: told["loss"] for name, told in epoch["validation"].items()}


def with_helper() -> list[Task]:
    return [task if task.name != "kind" else type(task)("kind", 3, auxiliary=True) for task in tasks(data())]


def stopping() -> balancing.TaskwiseStopping:
    """Stops after the first strip in which validation is worse than training."""
    return balancing.TaskwiseStopping(strip=1, threshold=1e-6)


def test_an_auxiliary_task_stops_and_the_others_go_on() -> None:
    labels = data()
    noise = torch.randint(0, 3, (48,), generator=torch.Generator().manual_seed(5))
    labels = type(labels)(labels.inputs, {**labels.targets, "kind": noise})
    _, fitted = train(stopping(), net=model(dropout=0.0), train=labels, tasks=with_helper(), budget={"epochs": 12})
    weights = {name: [epoch["train"][name]["weight"] for epoch in fitted.epochs] for name in ("number", "kind", "yes")}
    assert weights["number"] == weights["yes"] == [1.0] * 12
    end = weights["kind"].index(0.0)
    assert end >= 2 and weights["kind"] == [1.0] * end + [0.0] * (12 - end)


def test_resumed_it_stops_when_it_would_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"tasks": with_helper(), "budget": {"epochs": 6}}
    through, fitted = train(stopping(), net=model(dropout=0.0), **options)

    class Stop(Exception):
        pass

    def stop(epoch: dict) -> None:
        if epoch["epoch"] == 3:
            raise Stop

    with pytest.raises(Stop):
        train(stopping(), net=model(dropout=0.0), folder=tmp_path, on_epoch=stop, **options)
    again, resumed = train(stopping(), net=model(dropout=0.0), folder=tmp_path, **options)
    assert torch.equal(flat(through), flat(again))
    assert [epoch["train"] for epoch in resumed.epochs] == [epoch["train"] for epoch in fitted.epochs]
