"""A trunk for inputs of several kinds: what each part gives, how parts are named and replaced, what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import deployment, sharing, tasks
from polytask._plain import plain, rebuild
from polytask.errors import PolytaskError
from polytask.sharing.backbones.fusion import PARTS

NOTES = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.int32)


# --- parts -----------------------------------------------------------------------------------------------------------


def test_filters_give_their_strongest_answer_over_windows_that_begin_with_a_word() -> None:
    part = sharing.Words(5, width=1, windows=(2,), filters=1, mean=False)()
    with torch.no_grad():
        part.vectors.weight[1:] = torch.tensor([[1.0], [3.0], [2.0], [-5.0]])
        part.filters[0].weight.copy_(torch.tensor([[[1.0, 10.0]]]))
        part.filters[0].bias.zero_()
    # 1 + 10 * 3, 3 + 10 * 2, 2 + 10 * 0; then -5 alone, of which relu leaves nothing; then no word at all.
    assert part(NOTES).flatten().tolist() == [31.0, 0.0, 0.0]


@pytest.mark.parametrize("recipe", [sharing.Words(5, 3), sharing.Words(5, 3, windows=(1, 3), filters=2)])
def test_a_text_is_read_alike_however_far_it_is_padded(recipe: sharing.Words) -> None:
    part = recipe()
    longer = torch.cat([NOTES, torch.zeros(3, 5, dtype=torch.int32)], 1)
    torch.testing.assert_close(part(longer), part(NOTES))
    assert part(NOTES).shape == (3, part.width)


def test_bytes_are_pixels_from_0_to_1_in_any_precision() -> None:
    photo = sharing.Pictures(sharing.SmallCNN(3, (4,)), mean=(0.5,) * 3)
    trunk = sharing.Fusion({"photo": photo}, widths=(2,))().eval()
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(trunk({"photo": pixels}), trunk({"photo": pixels / 255}))
    assert trunk.double()({"photo": pixels})[-1].dtype == torch.float64


def test_any_text_model_of_transformers_will_do() -> None:
    pytest.importorskip("transformers")
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    part = sharing.Language("bert", small, vocabulary=5)().eval()
    assert part.width == 8
    found = part(NOTES)
    assert found[2].tolist() == [0.0] * 8 and bool(found.isfinite().all())
    torch.testing.assert_close(part(NOTES[:, :3]), found)
    part(NOTES).square().sum().backward()
    assert not [name for name, each in part.named_parameters() if each.grad is None]
    with pytest.raises(PolytaskError, match="did you mean 'bert'"):
        sharing.Language("brt", vocabulary=5)()
    with pytest.raises(PolytaskError, match="knows 3 tokens and the texts have 4"):
        sharing.Language("bert", {**small, "vocab_size": 3}, vocabulary=5)()


# --- the whole -------------------------------------------------------------------------------------------------------

ROWS = {
    "numbers": torch.tensor([[0.5, 1.0], [0.0, 2.0], [3.0, 1.0]]),
    "categories": torch.tensor([[1], [0], [2]]),
    "note": NOTES,
    "photo": torch.arange(3 * 3 * 8 * 8).remainder(255).view(3, 3, 8, 8).byte(),
    "place": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
}


def whole(**more: Any) -> sharing.Fusion:
    parts = {
        "numbers": sharing.TableInputs(2, (3,)),
        "note": sharing.Words(5, width=3, windows=(2,), filters=2),
        "photo": sharing.Pictures(sharing.SmallCNN(3, (4, 5))),
        "place": sharing.Vector(2),
    }
    return sharing.Fusion({**parts, **more}, widths=(6, 4))


def test_the_vectors_of_all_parts_are_joined() -> None:
    trunk = whole()().eval()
    joined = trunk.stages[0].inputs
    assert joined.widths == (2 + 2, 3 + 2, 5, 2)
    assert joined(ROWS)[:, -2:].tolist() == ROWS["place"].tolist()
    assert joined(ROWS)[:, :2].tolist() == ROWS["numbers"].tolist()
    assert [tuple(each.shape) for each in trunk(ROWS)] == [(3, 6), (3, 4)]


def test_it_is_rebuilt_from_what_a_run_writes_down() -> None:
    recipe = whole(photo=sharing.Pictures(sharing.SmallCNN(3, (4,))))
    told = json.loads(json.dumps(plain(recipe)))
    assert rebuild(told, [sharing.Fusion, *PARTS, sharing.PartInput]) == recipe
    assert sharing.Fusion(told["args"]["parts"], widths=(6, 4)) == recipe


def test_it_is_exported_for_inputs_by_name(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    model = sharing.HardSharing(whole(), both)
    path = deployment.export_onnx(model, ROWS, tmp_path / "m.onnx", decoded=True)
    found = deployment.run_onnx(path, ROWS)
    wanted = model.eval()(ROWS)
    for task in both:
        prediction = task.decode(wanted[task.name])
        torch.testing.assert_close(found[task.name], prediction.reshape(found[task.name].shape), rtol=1e-4, atol=1e-4)


# --- parts of one's own ----------------------------------------------------------------------------------------------

OWN = '''
from torch import nn


class Photo(nn.Module):
    """Says nothing of its width; gives a map."""

    def __init__(self, shape, channels=4):
        super().__init__()
        self.layer = nn.Conv2d(shape[0], channels, 3)

    def forward(self, x):
        return self.layer(x)


class Reader(nn.Module):
    def __init__(self, vocabulary, width=3):
        super().__init__()
        self.width = width
        self.table = nn.EmbeddingBag(vocabulary, width)

    def forward(self, words):
        return self.table(words)


def everything():
    class Rows(nn.Module):
        whole_rows, width = True, 2

        def forward(self, rows):
            return rows["place"] + rows["numbers"]

    return Rows()


def broken():
    raise ValueError("not today")


number = 3
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, which is not on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    return "own_parts"


READS = {"note": sharing.PartInput((4,), 5), "photo": sharing.PartInput((3, 8, 8)), "place": sharing.PartInput((2,))}


def test_parts_are_replaced_by_name_and_told_what_they_read(own: str) -> None:
    parts = {"photo": f"{own}.Photo(channels=7)", "note": f"{own}.Reader(width=5)", "place": f"{own}.everything"}
    asked = sharing.Fusion(parts, widths=(6,))
    default = sharing.Fusion(whole().parts, reads=READS)
    made = asked.completed(default)()
    assert made.stages[0].inputs.widths == (4, 5, 7, 2)
    assert made(ROWS)[0].shape == (3, 6)
    assert sharing.Fusion({"note": "Words(width=2)"}).completed(default).parts["note"] == sharing.Words(width=2)
    assert sharing.Fusion({"note": "Words(width=2)"}).completed(default)().stages[0].inputs.widths[1] == 2


def test_a_trunk_of_tables_takes_settings_as_well() -> None:
    own = sharing.MLP(sharing.TableInputs(2, (3,)), widths=(9, 9))
    made = sharing.Fusion({}, widths=(5,), dropout=0.5).completed(own)()
    rows = {name: ROWS[name] for name in ("numbers", "categories")}
    assert made(rows)[0].shape == (3, 5)


class Silent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    "parts, told",
    [
        ({"note": "Wrods()"}, "there is no part 'Wrods'; did you mean 'Words'"),
        ({"note": "Words(widht=3)"}, "Words has no setting 'widht'; did you mean 'width'"),
        ({"note": "Words(width="}, "can't read"),
        ({"note": "Words(width=x)"}, "can't read x"),
        ({"note": "Words(width=0)"}, "must be at least 1"),
        ({"note": 3}, "must be a recipe such as Words"),
        ({"nots": "Words()"}, "no input 'nots' for a part of Fusion; did you mean 'note'"),
        ({"photo": "own_parts.Phot"}, "own_parts has no 'Phot'; did you mean 'Photo'"),
        ({"photo": "no_parts.Photo"}, "there is no module 'no_parts'"),
        ({"photo": "own_parts.Photo(chanels=3)"}, "failed: TypeError"),
        ({"photo": "own_parts.broken"}, "not today"),
        ({"photo": "own_parts.number"}, "expected a class or a function"),
        ({"photo": "own_parts.Photo(3)"}, "given by name"),
        ({"photo": lambda: 3}, "must make an nn.Module, got int"),
        ({"note": "own_parts.Photo"}, "the part for 'note' can't read whole numbers of shape"),
    ],
)
def test_mistakes_in_parts_are_told(own: str, parts: dict[str, Any], told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        sharing.Fusion(parts).completed(sharing.Fusion(whole().parts, reads=READS))()


def test_what_is_not_known_is_asked_for() -> None:
    with pytest.raises(PolytaskError, match="does not say how many numbers it gives"):
        sharing.Fusion({"place": Silent})()
    with pytest.raises(PolytaskError, match=r"Words\(vocabulary=...\)"):
        sharing.Fusion({"note": sharing.Words()})()
    assert sharing.Fusion({"place": Silent}, (3,), reads=READS)()({"place": ROWS["place"]})[0].shape == (3, 3)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"note": None}, "the input 'note' is missing"),
        ({"note": NOTES.float()}, "input 'note': expected texts as word numbers"),
        ({"note": NOTES + 9}, "holds word number 13, expected 0 to 4"),
        ({"place": torch.zeros(3, 4)}, r"input 'place': expected vectors of shape \[b, 2\], got \[3, 4\]"),
        ({"photo": torch.zeros(3, 1, 8, 8)}, "input 'photo'"),
        ({"categories": torch.zeros(3, 1).long() + 7}, "categorical column 0"),
    ],
)
def test_wrong_inputs_are_named(change: dict[str, Any], told: str) -> None:
    rows = {name: each for name, each in {**ROWS, **change}.items() if each is not None}
    with pytest.raises(PolytaskError, match=told):
        whole(photo=sharing.SmallCNN(3, (4,)))()(rows)
    with pytest.raises(PolytaskError, match="expected inputs by name"):
        whole()()(ROWS["place"])
