"""A network of maps from the command line: units, predictions for a folder of pictures, export."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from polytask.cli import main
from polytask.cli.chosen import command_for
from polytask.cli.saved import SavedRun
from polytask.data.tables.schema import PICTURES

Run = Callable[..., tuple[int, str, str]]

ROOMS = "rooms(n_train=40, size=(16, 24))"
BUDGET = ["--budget.epochs", "1", "--budget.batch_size", "20"]
TASKS = ("segmentation", "depth", "normals")


@pytest.fixture(scope="module")
def rooms_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "rooms"
    sharing = ["--sharing", "HardSharing(decoder=FPN(8))", "--backbone", "SmallCNN(3, widths=(4, 6))"]
    assert main(["train", ROOMS, *BUDGET, *sharing, "--out", str(folder)]) == 0
    return folder


def picture(path: Path, height: int, width: int, mode: str = "RGB") -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(drawn).convert(mode).save(path)
    return drawn


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A picture of the size of the training, one of another, a grey one, one cut short, and a text."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "good.png", 16, 24)
    picture(folder / "large.jpg", 50, 31)
    picture(folder / "grey.png", 16, 24, "L")
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("not a picture")
    return folder


def refused(ran: tuple[int, str, str]) -> str:
    code, _, err = ran
    assert code == 2 and len(err.splitlines()) == 1, err
    return err


def test_every_metric_has_its_own_unit(run: Run, rooms_run: Path) -> None:
    code, out, _ = run("evaluate", rooms_run)
    assert code == 0
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith(("depth ", "segmentation "))}
    assert " m " in lines["absolute"] and lines["absolute"].endswith(" m")
    assert " m " not in lines["relative"] and not lines["relative"].endswith(" m")


def test_maps_of_every_picture_in_its_own_size(run: Run, rooms_run: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, told, err = run("predict", rooms_run, pictures, "--out", out)
    assert (code, err) == (0, "")
    told = " ".join(told.split())
    assert "3 pictures predicted" in told and "1 picture had another size" in told
    together = told.replace(" ", "")  # long paths are broken
    assert "1pictureskipped" in together and "broken.png" in together and "notes.txt" not in together
    for task in TASKS:
        for folder in (out / task, out / f"{task} as seen"):
            found = {path.name: Image.open(path).size for path in folder.iterdir()}
            assert found == {"good.png": (24, 16), "large.png": (31, 50), "grey.png": (24, 16)}
    assert not (out / "predictions.csv").exists(), "no task but maps"


def test_the_numbers_are_those_of_the_network(run: Run, rooms_run: Path, pictures: Path, tmp_path: Path) -> None:
    run("predict", rooms_run, pictures, "--out", tmp_path / "out")
    saved = SavedRun.open(rooms_run)
    pixels = torch.from_numpy(np.array(Image.open(pictures / "good.png"))).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        found = saved.model(pixels)
    for task in saved.tasks:
        written = np.array(Image.open(tmp_path / "out" / task.name / "good.png"))
        assert np.array_equal(written, task.raster(found[task.name])[0].numpy())
        seen = np.array(Image.open(tmp_path / "out" / f"{task.name} as seen" / "good.png"))
        assert np.array_equal(seen, task.picture(found[task.name])[0].numpy())


def test_two_pictures_of_one_stem_do_not_overwrite_each_other(run: Run, rooms_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "a.png", 16, 24)
    picture(folder / "a.jpg", 16, 24)
    assert run("predict", rooms_run, folder, "--out", tmp_path / "out")[0] == 0
    assert {path.name for path in (tmp_path / "out" / "depth").iterdir()} == {"a.png.png", "a.jpg.png"}


def test_every_ending_that_tables_take_for_a_picture(run: Run, digits_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for ending in PICTURES:
        picture(folder / f"{ending[1:]}{ending}", 16, 16, "L")
    code, out, err = run("predict", digits_run, folder, "--out", tmp_path / "out")
    assert (code, err) == (0, "") and f"{len(PICTURES)} pictures predicted" in out


def test_tasks_that_are_no_maps_become_a_table(run: Run, digits_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("b.png", "a.png"):
        picture(folder / name, 16, 16, "L")
    code, out, err = run("predict", digits_run, folder, "--out", tmp_path / "out")
    assert (code, err) == (0, "") and "2 pictures predicted" in out
    table = pl.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["file"].to_list() == ["a.png", "b.png"] and {"left", "right"} <= set(table.columns)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.csv"]


def test_folders_that_can_not_be_predicted(run: Run, rooms_run: Path, table_run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("not a picture")
    assert "holds no file that ends in" in refused(run("predict", rooms_run, empty))
    (empty / "broken.png").write_text("nor this")
    assert "none of the 1 pictures" in refused(run("predict", rooms_run, empty, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    picture(empty / "good.png", 16, 24)
    assert "give another one" in refused(run("predict", rooms_run, empty, "--out", empty))
    assert "holds no rows" in refused(run("predict", table_run, empty))
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    assert "folder of images" in refused(run("predict", rooms_run, tmp_path / "table.csv"))


def test_a_run_without_the_form_of_its_inputs(run: Run, rooms_run: Path, pictures: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    copied.mkdir()
    for name in ("job.json", "run.json", "model.safetensors"):
        (copied / name).write_bytes((rooms_run / name).read_bytes())
    assert "inputs.json" in refused(run("predict", copied, pictures))
    (copied / "inputs.json").write_text(json.dumps({"": {"type": "float32"}}))
    assert "does not describe the inputs" in refused(run("export", copied))


def test_export_of_all_tasks_and_of_each(run: Run, rooms_run: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    code, _, err = run("export", rooms_run, "--out", tmp_path, "--formats", "onnx", "torch", "--tasks", "depth")
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {"depth.onnx", "depth.pt2"}
    saved = SavedRun.open(rooms_run)
    images = torch.rand(3, 3, 16, 24)
    with torch.no_grad():
        wanted = saved.model(images, ["depth"])["depth"]
    session = onnxruntime.InferenceSession(str(tmp_path / "depth.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert np.abs(found - wanted.numpy()).max() < 1e-4
    (found,) = torch.export.load(tmp_path / "depth.pt2").module()(images)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_export_names_its_files(run: Run, rooms_run: Path, tmp_path: Path) -> None:
    code, out, err = run("export", rooms_run, "--out", tmp_path, "--formats", "torch")
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {"all-tasks.pt2", *(f"{task}.pt2" for task in TASKS)}
    assert "segmentation, depth, normals" in " ".join(out.split())


def test_exports_that_can_not_be(run: Run, rooms_run: Path, tmp_path: Path) -> None:
    assert "did you mean 'depth'" in refused(run("export", rooms_run, "--tasks", "dept", "--out", tmp_path))
    assert "onnx" in refused(run("export", rooms_run, "--formats", "tflite", "--out", tmp_path))
    assert "no folder" in refused(run("export", tmp_path / "nowhere"))
    assert not list(tmp_path.iterdir())


def test_images_that_were_scaled_otherwise_are_refused(
    run: Run, rooms_run: Path, pictures: Path, tmp_path: Path
) -> None:
    scaled = shutil.copytree(rooms_run, tmp_path / "scaled")
    told = json.loads((scaled / "inputs.json").read_text())
    told[""]["range"] = [-2.1, 2.6]
    (scaled / "inputs.json").write_text(json.dumps(told))
    err = refused(run("predict", scaled, pictures, "--out", tmp_path / "maps"))
    assert "trained on images with numbers from -2.1 to 2.6" in err
    assert not (tmp_path / "maps").exists()


def test_the_command_that_is_named_for_a_network_is_one_that_works(
    run: Run, rooms_run: Path, table_run: Path, pictures: Path, tmp_path: Path
) -> None:
    assert command_for(rooms_run) == f"polytask predict {rooms_run} ..."
    assert command_for(table_run) == f"polytask predict {table_run} ..."
    scaled = shutil.copytree(rooms_run, tmp_path / "scaled")
    told = json.loads((scaled / "inputs.json").read_text())
    told[""]["range"] = [-2.1, 2.6]
    (scaled / "inputs.json").write_text(json.dumps(told))
    assert command_for(scaled) == f"polytask evaluate {scaled}"
    assert run("predict", scaled, pictures)[0] == 2 and run("evaluate", scaled)[0] == 0
    job = json.loads((scaled / "job.json").read_text())
    (scaled / "job.json").write_text(json.dumps(job | {"spec": {}}))
    assert command_for(scaled) is None


def test_a_path_that_is_not_there_and_one_picture(run: Run, rooms_run: Path, pictures: Path, tmp_path: Path) -> None:
    assert "there is no file or folder" in refused(run("predict", rooms_run, tmp_path / "nowhere"))
    one = next(pictures.glob("*.png"))
    assert f"is one picture; give the folder that it is in: {pictures}" in refused(run("predict", rooms_run, one))


def test_a_problem_made_in_python_can_not_be_made_again(run: Run, rooms_run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(rooms_run, tmp_path / "own")
    job = json.loads((own / "job.json").read_text())
    (own / "job.json").write_text(json.dumps(job | {"spec": {}}))
    assert "was made in Python" in refused(run("evaluate", own))
