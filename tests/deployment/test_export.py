"""Exported files give what torch gives, hold what their tasks need, and say why where there is no such file."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import deployment, sharing, tasks
from polytask.errors import PolytaskError

TASKS = (tasks.Segmentation("parts", classes=4), tasks.Depth("depth.map"), tasks.MultiClass("kind", 3))
TINY: dict[str, Any] = {"num_channels": 3, "image_size": 32}
BACKBONES = {
    "cnn": sharing.SmallCNN(3, widths=(4, 6, 8)),
    "resnet": sharing.Transformers("resnet", embedding_size=4, hidden_sizes=(4, 8), depths=(1, 1)),
    "swin": sharing.Transformers(
        "swin", **TINY, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 1), window_size=4
    ),
}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> Any:
    if request.param != "cnn":
        pytest.importorskip("transformers")
    return BACKBONES[request.param]


@pytest.fixture(params=[None, 1], ids=["all shared", "one stage shared"])
def model(request: pytest.FixtureRequest, backbone: Any) -> sharing.MultiTaskModel:
    made = sharing.HardSharing(backbone, TASKS, shared_stages=request.param)
    made(torch.rand(8, 3, 32, 32))  # statistics of batch norm that are not the initial ones
    return made


def near(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * max(1.0, wanted.abs().max().item()))


@pytest.mark.parametrize("names", [None, ["depth.map"]])
def test_a_torch_program_gives_what_the_network_gives(
    model: sharing.MultiTaskModel, names: list[str] | None, tmp_path: Path
) -> None:
    program = torch.export.load(deployment.export_program(model, IMAGES, tmp_path / "m.pt2", names))
    assert model.training
    more = torch.rand(5, 3, 32, 32)
    wanted = model.eval()(more, names)
    found = program.module()(more)
    assert len(found) == len(wanted)
    for one, name in zip(found, wanted, strict=True):
        near(one, wanted[name])


def test_an_onnx_file_gives_what_the_network_gives(model: sharing.MultiTaskModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = deployment.export_onnx(model, IMAGES, tmp_path / "m.onnx", decoded=True)
    more = torch.rand(5, 3, 32, 32)
    wanted = model.eval()(more)
    found = deployment.run_onnx(path, more)
    assert list(found) == [task.name for task in TASKS]
    for task in TASKS:
        near(found[task.name], task.decode(wanted[task.name]))


def test_a_file_for_one_task_leaves_out_what_it_does_not_need(tmp_path: Path) -> None:
    model = sharing.HardSharing(BACKBONES["cnn"], TASKS, shared_stages=1)
    program = torch.export.load(deployment.export_program(model, IMAGES, tmp_path / "m.pt2", ["kind"]))
    held = sum(each.numel() for name, each in program.state_dict.items() if "running" not in name)
    needed = {id(each): each.numel() for module in model.used_by("kind") for each in module.parameters()}
    assert held == sum(needed.values())
    everything = deployment.export_program(model, IMAGES, tmp_path / "all.pt2")
    assert (tmp_path / "m.pt2").stat().st_size < everything.stat().st_size


def test_inputs_by_name(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    table = sharing.MLP(sharing.TableInputs(2, (3, 4)), widths=(6, 7))
    model = sharing.HardSharing(table, [tasks.Binary("a"), tasks.MultiClass("b", 3)])
    rows = {"numbers": torch.randn(3, 2), "categories": torch.tensor([[0, 1], [2, 3], [1, 1]])}
    path = deployment.export_onnx(model, rows, tmp_path / "m.onnx")
    for name, prediction in model.eval()(rows).items():
        near(deployment.run_onnx(path, rows)[name], prediction)


def test_the_file_says_what_its_tasks_are(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = sharing.HardSharing(BACKBONES["cnn"], TASKS)
    told = onnx.load(deployment.export_onnx(model, IMAGES, tmp_path / "m.onnx", ["parts"])).metadata_props
    held = {each.key: each.value for each in told}
    assert json.loads(held["polytask_tasks"])["parts"]["kind"] == "Segmentation"


class Stubborn(nn.Module):
    """Does another thing where its input is dark: no one program does both."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0.5 else -x


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    def backbone() -> sharing.Backbone:
        return sharing.SequentialBackbone([nn.Sequential(Stubborn(), nn.Conv2d(3, 4, 3))], [4])

    with pytest.raises(PolytaskError, match=r"HardSharing can't be exported for kind: .*; look for steps that depend"):
        deployment.export_program(sharing.HardSharing(backbone, TASKS[2:]), IMAGES, tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_wrong_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    model = sharing.HardSharing(BACKBONES["cnn"], TASKS)
    right = deployment.onnx.run_onnx
    monkeypatch.setattr(
        deployment.onnx, "run_onnx", lambda *args: {name: each + 0.1 for name, each in right(*args).items()}
    )
    with pytest.raises(PolytaskError, match=r"onnxruntime gives task 'parts' up to 0\.1 away"):
        deployment.export_onnx(model, IMAGES, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    model = sharing.HardSharing(BACKBONES["cnn"], TASKS)
    (tmp_path / "m.pt2").mkdir()
    with pytest.raises(PolytaskError, match=r"m\.pt2 is a folder"):
        deployment.export_program(model, IMAGES, tmp_path / "m.pt2")
    missing = "/dev/full/m.pt2"
    with pytest.raises(PolytaskError, match=r"can't (make the folder|write) .*full"):
        deployment.export_program(model, IMAGES, missing)
    (tmp_path / "gone.pt2").symlink_to(tmp_path / "nowhere" / "gone.pt2")
    with pytest.raises(PolytaskError, match=r"can't write .*gone\.pt2: "):
        deployment.export_program(model, IMAGES, tmp_path / "gone.pt2")


def test_bad_requests(tmp_path: Path) -> None:
    model = sharing.HardSharing(BACKBONES["cnn"], TASKS)
    with pytest.raises(PolytaskError, match=r"ends in \.pt2, got m\.onnx"):
        deployment.export_program(model, IMAGES, tmp_path / "m.onnx")
    with pytest.raises(PolytaskError, match="no task 'depth'"):
        deployment.export_program(model, IMAGES, tmp_path / "m.pt2", ["depth"])
    with pytest.raises(PolytaskError, match="at least two samples"):
        deployment.export_program(model, IMAGES[:1], tmp_path / "m.pt2")
    with pytest.raises(PolytaskError, match=r"expected a sharing\.MultiTaskModel to export, got Linear"):
        deployment.export_program(nn.Linear(3, 3), IMAGES, tmp_path / "m.pt2")  # type: ignore[arg-type]
    (tmp_path / "bad.onnx").write_bytes(b"not onnx")
    with pytest.raises(PolytaskError, match="onnxruntime can't read"):
        deployment.run_onnx(tmp_path / "bad.onnx", IMAGES)
