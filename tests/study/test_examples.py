"""The pictures that a study keeps: of the same samples for every network, chosen before any result."""

import base64
import io
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from dense_cases import CLASSES, problem
from PIL import Image
from study_cases import problem as of_numbers

from polytask.sharing import MTAN, HardSharing
from polytask.study import Arm, Job, compare, train
from polytask.study.examples import MAPS, SIDE, data_uri, example_rows, examples, rows_alone
from polytask.tasks import Segmentation
from polytask.training import Budget


def opened(uri: str) -> torch.Tensor:
    content = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(image.height, image.width, 3)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory):
    return compare(problem(), [Arm(MTAN)], 2, {}, tmp_path_factory.mktemp("quarters"), jobs=1)


def test_every_network_of_the_first_seed_keeps_the_same_samples(study) -> None:
    first = [record for record in study.records if record["seed"] == 0]
    assert len(first) == 4
    for record in first:
        kept = record["examples"]
        assert kept["rows"] == [0, 3, 5, 8]
        assert list(kept["tasks"]) == record["tasks"]
        assert kept["inputs"] == first[0]["examples"]["inputs"] and len(set(kept["inputs"])) == 4
        for pictures in kept["tasks"].values():
            assert set(pictures) == {"prediction", "error", "target"}
            assert all(len(each) == 4 and None not in each for each in pictures.values())
    assert not any("examples" in record for record in study.records if record["seed"] == 1)
    again = [json.loads(line) for line in (study.folder / "records.jsonl").read_text().splitlines()]
    assert again == study.records


def test_pictures_are_those_of_the_task(study) -> None:
    """Pictures of classes exactly, pixel by pixel."""
    posed = problem()
    task, target = posed.tasks[0], posed.splits["test"].targets["where"][[0, 3, 5, 8]]
    joint = next(each for each in study.records if each["arm"] == "HardSharing + Equal" and each["seed"] == 0)
    for uri, expected in zip(joint["examples"]["tasks"]["where"]["target"], task.target_picture(target), strict=True):
        assert torch.equal(opened(uri), expected)
    assert joint["examples"]["legends"]["where"] == {
        label: "#{:02x}{:02x}{:02x}".format(*task.legend()[label]) for label in CLASSES
    }
    image = opened(joint["examples"]["inputs"][1]).float() / 255
    shown = posed.splits["test"].gather(torch.tensor([3])).inputs[0].permute(1, 2, 0)
    assert (image - shown).abs().mean() < 0.06, "lossy, as there are many colours"


def test_attention_maps_are_of_the_same_samples(study) -> None:
    record = next(each for each in study.records if each["arm"] == "MTAN + Equal")
    maps, ranges = record["examples"]["maps"], record["examples"]["map_ranges"]
    assert len(maps) == 4, "two tasks, two stages"
    for label, pictures in maps.items():
        assert len(pictures) == 4
        low, high = ranges[label]
        assert 0 <= low < high <= 1
    assert record["epochs"][0]["inside"]
    other = next(each for each in study.records if each["arm"] == "HardSharing + Equal")
    assert other["examples"]["maps"] == {} and "inside" not in other["epochs"][0]


def test_samples_have_labels_and_are_found_again_in_the_data_of_one_task() -> None:
    posed = problem(unlabelled=(0, 4, 8))
    rows = example_rows(posed)
    assert rows == (1, 3, 5, 7)
    alone = rows_alone(posed, rows, posed.tasks[0])
    assert alone == (0, 2, 3, 5)
    only = posed.only("where").splits["test"]
    assert torch.equal(only.inputs[list(alone)], posed.splits["test"].inputs[list(rows)])
    assert rows_alone(posed, rows, posed.tasks[1]) == rows


def test_where_few_samples_have_every_label_the_others_are_shown_too() -> None:
    posed = problem(unlabelled=(0, 1, 2, 3, 4, 5))
    rows = example_rows(posed)
    assert rows == (0, 3, 5, 8)
    alone = rows_alone(posed, rows, posed.tasks[0])
    assert alone == (None, None, None, 2)
    net = HardSharing(posed.backbone, posed.tasks[:1])
    found = examples(net, posed.only("where"), alone, torch.device("cpu"))
    assert found is not None
    assert [uri is None for uri in found["inputs"]] == [True, True, True, False]
    assert [uri is None for uri in found["tasks"]["where"]["prediction"]] == [True, True, True, False]


def test_a_problem_of_numbers_keeps_no_pictures(tmp_path: Path) -> None:
    assert example_rows(of_numbers()) == ()
    record = train(Job(of_numbers(), Arm(), 0, Budget(epochs=1, batch_size=16), examples=(0, 1)), tmp_path)
    assert record["status"] == "finished" and "examples" not in record


def test_examples_are_no_part_of_what_a_run_is() -> None:
    posed, budget = problem(), Budget(epochs=1)
    assert Job(posed, Arm(), 0, budget).key == Job(posed, Arm(), 0, budget, examples=(1, 2)).key


@dataclass(frozen=True)
class Unpaintable(Segmentation):
    def target_picture(self, target, inputs=None):
        raise RuntimeError("no such colour")


def test_a_picture_that_fails_ends_no_run(tmp_path: Path) -> None:
    posed = problem()
    posed = replace(posed, tasks=(Unpaintable("where", CLASSES), posed.tasks[1]))
    record = train(Job(posed, Arm(), 0, Budget(epochs=1, batch_size=6), examples=(0, 1)), tmp_path)
    assert record["status"] == "finished"
    assert record["examples"] == {"error": "RuntimeError: no such colour"}


def test_large_pictures_are_made_smaller() -> None:
    many = torch.randint(255, (100, 600, 3), dtype=torch.uint8)
    assert opened(data_uri(many)).shape == (round(100 * SIDE / 600), SIDE, 3)
    few = torch.zeros(600, 600, 3, dtype=torch.uint8)
    few[::2, ::2] = 255
    assert set(opened(data_uri(few)).flatten().tolist()) <= {0, 255}, "no colour that was not there"


def test_very_many_maps_are_cut_and_counted() -> None:
    posed = problem()

    class Many(HardSharing):
        def maps_inside(self) -> dict[str, torch.Tensor]:
            return {f"map {k}": torch.rand(2, 3, 3) for k in range(MAPS + 5)} if self.keep_maps else {}

    found = examples(partial(Many)(posed.backbone, posed.tasks), posed, (0, 1), torch.device("cpu"))
    assert found is not None
    assert len(found["maps"]) == MAPS and found["maps_left_out"] == 5


def test_a_look_leaves_the_network_as_it_was() -> None:
    posed = problem()
    net = MTAN(posed.backbone, posed.tasks).train()
    before = {name: each.clone() for name, each in net.state_dict().items()}
    examples(net, posed, (0, 1), torch.device("cpu"))
    assert net.training and net.keep_maps is False
    assert all(torch.equal(each, before[name]) for name, each in net.state_dict().items())
