"""Samplers as a part of arms: names, records, checks before the training, and what the report draws."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from study_cases import BUDGET, problem
from test_pictures import section
from test_report import Page, strip, study

from polytask.balancing import MGDA, Equal
from polytask.data import AllTasks, Annealed, RoundRobin, Temperature, Uniform
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study import Arm, compare, rehearse
from polytask.study.report import render
from polytask.training import Budget


def half_labelled() -> Problem:
    """The tiny problem; a third of its training rows has a label for "size"."""
    whole = problem()
    train = whole.splits["train"]
    size = train.targets["size"].masked_fill(torch.arange(len(train)) % 3 > 0, torch.nan)
    fewer = type(train)(train.inputs, {"size": size, "side": train.targets["side"]})
    return replace(whole, splits={**whole.splits, "train": fewer})


def test_arms_are_named_and_described_by_their_sampler() -> None:
    plain, sampled = Arm(balancer=MGDA()), Arm(balancer=MGDA(), sampler=Temperature(5, per="batch"))
    assert sampled.name == "HardSharing + MGDA, Temperature(per='batch', t=5)" and sampled.family == sampled.name
    assert "sampler" not in plain.described, "records of arms without one are as they were"
    args = {"per": "batch", "labels": "drawn", "t": 5, "most": None}
    assert sampled.described["sampler"] == {"class": "Temperature", "args": args}
    with pytest.raises(PolytaskError, match=r"make one: Uniform\(\)"):
        Arm(sampler=Uniform)


def test_a_study_compares_samplers_under_one_budget(tmp_path: Path) -> None:
    arms = [Arm(sampler=Uniform()), Arm(balancer=MGDA(), sampler=RoundRobin()), Arm(sampler=Annealed())]
    found = compare(half_labelled(), arms, 1, {"epochs": 2}, tmp_path, jobs=1)
    joint = {record["arm"]: record for record in found.records if not record["baseline"]}
    assert all(record["status"] == "finished" for record in found.records), found.records
    assert len({record["steps"] for record in found.records}) == 1, "as many steps for every network"
    told = {name: [epoch.get("drawn") for epoch in record["epochs"]] for name, record in joint.items()}
    assert told["HardSharing + Equal"] == [None, None]
    assert told["HardSharing + Equal, Uniform"] == [{"size": 0.5, "side": 0.5}] * 2
    first, last = told["HardSharing + Equal, Annealed"]
    assert first == pytest.approx({"size": 0.25, "side": 0.75}) and last["size"] == pytest.approx(0.4453, abs=1e-3)
    again = compare(half_labelled(), arms, 1, {"epochs": 2}, tmp_path, jobs=1)
    assert [each["key"] for each in again.records] == [each["key"] for each in found.records]
    page = render(found.summary, found.records)
    assert "Share of the draws" in section(page, "drawn") and "Annealed" in Page(section(page, "drawn")).text
    assert "RoundRobin" not in Page(section(page, "drawn")).text, "its shares do not change"


def test_what_a_sampler_needs_is_said_before_the_training() -> None:
    with pytest.raises(PolytaskError, match="all 2 pools in every batch, and a batch has 1"):
        rehearse(half_labelled(), [Arm(sampler=AllTasks())], Budget().updated({**BUDGET, "batch_size": 1}))
    took = rehearse(half_labelled(), [Arm(balancer=each, sampler=RoundRobin()) for each in (Equal(), MGDA())], Budget())
    assert len(took) == 2


def test_very_many_pools_are_counted() -> None:
    summary, records = study(fail=False)
    drawn = {f"shop {k}": 0.01 for k in range(30)}
    assert not section(render(summary, strip(records, drawn=drawn)), "drawn")
    moving = [
        record
        | {"epochs": [epoch | {"drawn": drawn | {"shop 7": 0.01 * n}} for n, epoch in enumerate(record["epochs"])]}
        for record in records
    ]
    text = section(render(summary, moving), "drawn")
    assert "18 more, whose shares change less, are in the records" in text and "shop 7" in text
