"""Reviews in several domains: from files made here, and from the real ones."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch

from polytask import problems
from polytask.errors import PolytaskError
from polytask.sharing import HardSharing

GOOD, BAD = "a fine {thing} number {k}", "a poor {thing} number {k}"


def lines(thing: str, first: int, rows: int) -> list[str]:
    """Reviews, no two alike; every second one is content."""
    return [f"{k % 2}\t{(GOOD if k % 2 else BAD).format(thing=thing, k=k)}" for k in range(first, first + rows)]


def files(thing: str) -> dict[str, list[str]]:
    return {"train": lines(thing, 0, 230), "test": lines(thing, 500, 40)}


def folder(root: Path, **domains: dict[str, list[str]]) -> Path:
    where = root / "fdu-mtl"
    where.mkdir()
    for domain, parts in domains.items():
        for part, found in parts.items():
            (where / f"{domain}.task.{part}").write_bytes(("\n".join(found) + "\n").encode("latin-1"))
        (where / f"{domain}.task.unlabel").write_bytes(b"no label here\n")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder(tmp_path, books=files("book"), MR=files("film"))


def test_a_domain_is_a_task_and_a_data_set(root: Path) -> None:
    problem = problems.fdu_mtl(root)
    assert [task.name for task in problem.tasks] == ["books", "MR"]  # by the alphabet, whatever the case
    assert {name: len(data) for name, data in problem.splits.items()} == {"train": 60, "validation": 400, "test": 80}
    for data in problem.splits.values():
        for name, rows in data.pools().items():
            there = data.labelled(name)
            assert torch.equal(there.nonzero()[:, 0], rows)
            assert data.targets[name][rows].tolist() == [k % 2 for k in range(len(rows))]


def test_words_are_those_of_the_training_reviews(root: Path) -> None:
    problem = problems.fdu_mtl(root, words=3)
    data = problem.splits["test"]
    assert data.inputs["text"].shape == (80, 3)
    first, second = data.inputs["text"][:2].tolist()
    assert first[0] == second[0] and first[1] != second[1] and first[2] == second[2]  # a poor book, a fine book
    whole = problems.fdu_mtl(root).splits["test"].inputs["text"]
    assert bool((whole[:, 4] == 1).all())  # "500", "501", ...: numbers that no training review holds
    model = HardSharing(problem.backbone, problem.tasks)
    assert model({"text": data.inputs["text"][:5]})["MR"].shape == (5, 1)


def test_a_review_is_in_one_split_only(tmp_path: Path) -> None:
    books, films = files("book"), files("film")
    books["train"][3] = "1\t" + books["test"][0].split("\t")[1].upper()  # a test review, in other letters
    books["train"][4] = films["test"][7]  # a test review of the other domain
    books["train"][5] = books["train"][-1]  # a validation review
    films["train"][-2] = films["test"][1]
    root = folder(tmp_path, books=books, MR=films)
    kept = problems.fdu_mtl(root)
    assert {name: kept.splits[name].counts() for name in ("train", "validation", "test")} == {
        "train": {"books": 27, "MR": 30},
        "validation": {"books": 200, "MR": 199},
        "test": {"books": 40, "MR": 40},
    }
    assert "left out" in kept.notes[0]
    every = problems.fdu_mtl(root, repeats=True)
    assert every.splits["train"].counts() == {"books": 30, "MR": 30} and "word for word" in every.notes[0]


def test_an_archive_says_the_same_as_a_folder(root: Path) -> None:
    plain = problems.fdu_mtl(root)
    (root / "fdu_mtl").mkdir()
    with tarfile.open(root / "fdu_mtl" / "fdu_mtl.tar.xz", "w:xz") as archive:
        for path in sorted((root / "fdu-mtl").iterdir()):
            content = path.read_bytes()
            member = tarfile.TarInfo(f"fdu-mtl/{path.name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for path in (root / "fdu-mtl").iterdir():
        path.unlink()
    assert problems.fdu_mtl(root).fingerprint() == plain.fingerprint()


def test_it_can_be_made_again(root: Path) -> None:
    problem = problems.fdu_mtl(root, words=5)
    again = problems.fdu_mtl(**json.loads(json.dumps(problem.spec))["args"])
    assert again.fingerprint() == problem.fingerprint() and again.tasks == problem.tasks


def test_signs_of_other_encodings_do_not_break_lines(tmp_path: Path) -> None:
    odd = files("book")
    odd["test"][0] = "1\tcaf\xe9 \x85 next word"  # \x85 ends a line for str.splitlines
    assert problems.fdu_mtl(folder(tmp_path, books=odd)).splits["test"].counts() == {"books": 40}


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"train": ["good\ta film"]}, r"line 1 of books\.task\.train: expected 0 or 1, a tab and a text, got 'good"),
        ({"test": ["1 no tab"]}, r"line 1 of books\.task\.test: expected 0 or 1"),
    ],
)
def test_lines_of_another_form_are_told(tmp_path: Path, changed: dict[str, list[str]], told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        problems.fdu_mtl(folder(tmp_path, books=files("book") | changed))


def test_files_that_are_not_there_or_broken(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match=r"no reviews below .*: expected fdu_mtl/fdu_mtl\.tar\.xz, or a folder"):
        problems.fdu_mtl(tmp_path)
    folder(tmp_path, books={"train": lines("book", 0, 230)})
    with pytest.raises(PolytaskError, match=r"of 'books' there is only books\.task\.train"):
        problems.fdu_mtl(tmp_path)
    (tmp_path / "fdu_mtl").mkdir()
    (tmp_path / "fdu_mtl" / "fdu_mtl.tar.xz").write_bytes(b"\xfd7zXZ\x00no more")
    with pytest.raises(PolytaskError, match="is no whole archive"):
        problems.fdu_mtl(tmp_path)
    with pytest.raises(PolytaskError, match="words must be a whole number of at least 1, got 0"):
        problems.fdu_mtl(tmp_path, words=0)


@pytest.mark.real_data
def test_the_real_reviews(data_root: Path) -> None:
    if not (data_root / "fdu_mtl" / "fdu_mtl.tar.xz").is_file():
        pytest.skip("no fdu_mtl/fdu_mtl.tar.xz")
    problem = problems.fdu_mtl(data_root)
    assert len(problem.tasks) == 16
    assert {name: len(data) for name, data in problem.splits.items()} == {
        "train": 21249,
        "validation": 3114,
        "test": 6400,
    }
    data, words = problem.splits["train"], problem.backbone.parts["text"].vocabulary
    assert int(data.inputs["text"].max()) == words - 1
    every = problems.fdu_mtl(data_root, repeats=True)
    assert len(every.splits["train"]) == 22180 and len(every.splits["validation"]) == 3200
