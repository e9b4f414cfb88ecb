"""Arms that start from the single-task networks of the same seed."""

from pathlib import Path

import pytest
import torch
from study_cases import problem

from polytask.errors import PolytaskError
from polytask.sharing import CrossStitch, HardSharing
from polytask.study import Arm, Job, compare, train
from polytask.study.report import render
from polytask.training import Budget, load_tree

STARTED = Arm(CrossStitch, from_single_task=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("started")


@pytest.fixture(scope="module")
def study(folder: Path):
    """What every network of a CrossStitch was when its training began, and the study."""
    begun = []
    original = CrossStitch.train

    def note(self, mode=True):
        begun.append({name: each.clone() for name, each in self.state_dict().items()})
        return original(self, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrossStitch, "train", note)
        return begun, compare(problem(), [STARTED, Arm(CrossStitch)], 2, None, folder, jobs=1)


def test_it_begins_where_the_baselines_of_its_seed_ended(study, folder: Path) -> None:
    begun, result = study
    for seed in (0, 1):
        record = next(r for r in result.records if r["arm"] == STARTED.name and r["seed"] == seed)
        assert record["status"] == "finished", record["error"]
        alone = {r["tasks"][0]: r for r in result.records if r["baseline"] and r["seed"] == seed}
        assert record["start"]["runs"] == {task: each["key"] for task, each in alone.items()}
        assert record["start"]["seconds"] == pytest.approx(sum(each["seconds"] for each in alone.values()))
        heads = {
            task: load_tree(folder / "runs" / each["key"] / "model.safetensors")[f"heads.{task}.weight"]
            for task, each in alone.items()
        }
        assert any(
            all(
                any(torch.equal(each, head) for each in state.values() if each.shape == head.shape)
                for head in heads.values()
            )
            for state in begun
        )


def test_it_is_told_apart_in_tables_and_what_it_cost_is_said(study) -> None:
    _, result = study
    names = [arm.name for arm in result.summary.arms]
    assert "CrossStitch + Equal, from single-task" in names and "CrossStitch + Equal" in names
    started = next(arm for arm in result.summary.arms if arm.name == STARTED.name)
    other = next(arm for arm in result.summary.arms if arm.name == "CrossStitch + Equal")
    base = next(arm for arm in result.summary.arms if arm.baseline)
    assert started.start_seconds == pytest.approx(base.seconds.mean)
    assert other.start_seconds is None
    text = render(result.summary, result.records)
    assert text.count("comes on top of its own time") == 1


def test_scores_differ_from_a_start_at_random(study) -> None:
    _, result = study
    scores = {r["arm"]: r["scores"]["test"] for r in result.records if r["seed"] == 0 and not r["baseline"]}
    assert scores[STARTED.name] != scores["CrossStitch + Equal"]


def test_keys_of_other_arms_are_what_they_were() -> None:
    posed, budget = problem(), Budget(epochs=1)
    assert "from_single_task" not in Job(posed, Arm(CrossStitch), 0, budget).described["arm"]
    assert STARTED.described["from_single_task"] is True
    assert Job(posed, Arm(CrossStitch), 0, budget).key != Job(posed, STARTED, 0, budget).key


def test_what_has_no_network_per_task_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match="no whole network per task"):
        compare(problem(), [Arm(HardSharing, from_single_task=True)], 1, None, tmp_path, jobs=1)
    assert not (tmp_path / "runs").exists()


def test_alone_it_says_what_it_lacks(tmp_path: Path) -> None:
    record = train(Job(problem(), STARTED, 0, Budget(epochs=1, batch_size=16)), tmp_path)
    assert record["status"] == "failed" and "give the folder of one for every task" in record["error"]
