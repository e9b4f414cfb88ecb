"""The study of where to split: the arms, what is kept of them, and the section of the report."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from study_cases import problem

from polytask import balancing
from polytask._plain import plain
from polytask.sharing import MLP, HardSharing
from polytask.study import Arm, Summary, compare, split_levels
from polytask.study.report import render
from polytask.study.report.numbers import fixed, places


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory):
    posed = replace(problem(), backbone=MLP(4, widths=(8, 8)))
    return compare(posed, split_levels(posed), 2, {"epochs": 1}, tmp_path_factory.mktemp("levels"), jobs=1)


def test_one_arm_for_every_number_of_shared_stages() -> None:
    state = torch.get_rng_state()
    arms = split_levels(MLP(4, widths=(8, 8, 8)), balancing.PCGrad())
    assert torch.equal(state, torch.get_rng_state()), "counting the stages draws nothing"
    made = [arm.sharing(MLP(4, widths=(8, 8, 8)), problem().tasks).shared_stages for arm in arms]
    assert made == [0, 1, 2, 3]
    assert arms[-1].name == Arm(balancer=balancing.PCGrad()).name, "the last one is plain hard sharing"
    assert len({arm.family for arm in arms}) == 1


def test_arms_of_one_family_differ_in_nothing_else() -> None:
    one, other = (Arm(partial(HardSharing, shared_stages=s, stacked=False)) for s in (0, 1))
    assert one.family == other.family == "HardSharing(stacked=False) + Equal"
    assert Arm(partial(HardSharing, shared_stages=1)).family != one.family
    assert Arm(partial(HardSharing, shared_stages=1), balancing.PCGrad()).family != Arm().family


def test_plain_hard_sharing_is_not_trained_twice(study) -> None:
    names = [arm.name for arm in study.summary.arms]
    assert sorted(names) == sorted(
        ["single-task", "HardSharing + Equal", *(f"HardSharing(shared_stages={s}) + Equal" for s in (0, 1))]
    )
    assert len(study.records) == 2 * (2 + 3)


def test_the_number_is_kept_in_records_and_summary(study) -> None:
    told = {record["arm"]: record["shared_stages"] for record in study.records}
    assert told["HardSharing(shared_stages=1) + Equal"] == 1 and told["HardSharing + Equal"] == 2
    assert {arm.name: arm.shared_stages for arm in study.summary.arms if not arm.baseline} == {
        name: stages for name, stages in told.items() if name != "single-task"
    }
    assert Summary.from_json(plain(study.summary)).arms[1].shared_stages == study.summary.arms[1].shared_stages


def test_a_study_of_before_can_be_read(study) -> None:
    later = ("shared_stages", "family", "class_gains", "patterns", "multiply_adds", "start_seconds")
    told = plain(study.summary)
    for arm in told["args"]["arms"]:
        for name in later:
            del arm["args"][name]
    for task in told["args"]["tasks"]:
        del task["args"]["labels"], task["args"]["class_metric"]
    old = Summary.from_json(told)
    assert old.arms[1].delta_m_tasks == study.summary.arms[1].delta_m_tasks
    text = render(old, [])
    assert 'id="levels"' not in text and 'id="rare"' not in text


def test_the_report_shows_the_curve(study) -> None:
    text = render(study.summary, study.records)
    section = text[text.index('<section id="levels">') :]
    section = section[: section.index("</section>")]
    assert "How much to share" in section and re.search(r"On validation data \d of 2 shared stages", section)
    means = [arm.delta_m_tasks.mean for arm in study.summary.arms if not arm.baseline]
    for mean in means:
        assert fixed(mean, places(means)) in section
    assert "epoch" not in section
    assert section.count("<figure") == 2 and ">size<" in section and ">side<" in section


def test_two_numbers_make_no_curve(study) -> None:
    fewer = replace(study.summary, arms=study.summary.arms[:3])
    assert 'id="levels"' not in render(fewer, study.records)


def test_multiply_adds_are_those_of_the_layers(study) -> None:
    """MLP(4, (8, 8)) has 32 + 64 multiply-adds, its heads 8 (a number) and 16 (two classes)."""
    told = {arm.name: arm.multiply_adds for arm in study.summary.arms}
    assert told["HardSharing + Equal"] == 32 + 64 + 8 + 16
    assert told["HardSharing(shared_stages=1) + Equal"] == 32 + 2 * 64 + 8 + 16
    assert told["single-task"] == told["HardSharing(shared_stages=0) + Equal"] == 2 * (32 + 64) + 8 + 16
    assert all(record["forward_mib"] > 0 for record in study.records)


def test_the_form_of_the_inputs_is_written_down(study) -> None:
    folders = list(Path(study.folder, "runs").iterdir())
    assert folders and all('"shape": [4]' in (folder / "inputs.json").read_text() for folder in folders)
