"""FDU-MTL: is a review kind or not? Sixteen domains, a data set and a task for each."""

from pathlib import Path

import polars as pl
import torch

from polytask.data import TensorData, mixture
from polytask.data.tables.texts import VOCABULARY, WORD, TextEncoder
from polytask.errors import PolytaskError
from polytask.problems._fdu_files import Reviews, read_reviews
from polytask.problems.problem import Problem
from polytask.sharing import Fusion, Words
from polytask.tasks import Binary

TEXT = "text"
HELD_OUT = 200
"""The last training reviews of a domain, which validate."""


def fdu_mtl(data_root: Path, words: int = 256, vocabulary: int = VOCABULARY, repeats: bool = False) -> Problem:
    """Reviews of books, films, cameras, ... in sixteen domains: is the writer content? A data set and a task for each.

    * Input: `text`, the first 256 words of a review as numbers, by a vocabulary of all training reviews
      (`TextEncoder`).
    * Tasks: `books`, `imdb`, ..., one per domain: negative or positive (0 and 1 in the files). A review has a label for
      the task of its domain only; samplers draw from the domains (`TensorData.sources`).
    * Size: 21,249 training, 3,114 validation, 6,400 test reviews; 400 test reviews in each domain.
    * Split: the official test files; the last 200 lines of each training file validate, as Chen and Cardie 2018
      (Multinomial Adversarial Networks) do. That the paper's own 200 are these is not known to us.
    * Source: Liu, Qiu, Huang 2017, Adversarial Multi-task Learning for Text Classification (arXiv 1704.05742): reviews
      of Amazon (14 domains), IMDB and Rotten Tomatoes (MR). Licence: none stated for the texts.

    Many reviews are there more than once: 508 of the 6,400 test reviews are also training reviews (149 of 400 in
    magazines, 97 in video), word for word, now and then in another domain, where only a joint network would see them.
    By default a training review that is also a validation or test review, in any domain, is left out, and a validation
    review that is also a test review. Published scores (84 to 88 % on average) are with them.

    Read from `data_root` is `fdu_mtl/fdu_mtl.tar.xz`, or a folder `fdu_mtl/` or `fdu-mtl/` of the files
    `books.task.train`, `books.task.test`, ... as they are given away: a line is 0 or 1, a tab, and the words. Reviews
    without labels (`*.task.unlabel`) are not read.

    Args:
        data_root: the folder that holds them.
        words: how many words of a review are read, at most.
        vocabulary: how many words are known, at most: the most frequent ones that are in two training reviews.
        repeats: keep reviews that are in two splits.

    Raises:
        PolytaskError: the files are not there, broken, or not of that form.

    Cost: 3 seconds; 31 MB.
    """
    if not isinstance(words, int) or words < 1:
        raise PolytaskError(f"words must be a whole number of at least 1, got {words!r}")
    found = read_reviews(Path(data_root))
    parts = {
        "train": {name: each["train"][:-HELD_OUT] for name, each in found.items()},
        "validation": {name: each["train"][-HELD_OUT:] for name, each in found.items()},
        "test": {name: each["test"] for name, each in found.items()},
    }
    if not repeats:
        parts = _without_repeats(parts)
    every = pl.concat([each.texts for each in parts["train"].values()])
    encoder = TextEncoder.fit(every.alias(TEXT), words, vocabulary)
    if not isinstance(encoder, TextEncoder):
        raise PolytaskError(f"the training reviews below {data_root} hold no words")
    splits = {split: _stacked(domains, encoder) for split, domains in parts.items()}
    tasks = tuple(Binary(name, ("negative", "positive")) for name in found)
    return Problem(
        name="fdu_mtl",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in tasks),
        splits=splits,
        backbone=Fusion({TEXT: Words(encoder.size, width=64)}, widths=(64,), dropout=0.5),
        summary=f"Reviews in {len(tasks)} domains, a data set for each: is the writer content?",
        source="FDU-MTL (Liu, Qiu, Huang 2017)",
        licence="none stated for the texts",
        suggested={"epochs": 6, "batch_size": 64, "learning_rate": 2e-3},
        spec={
            "name": "fdu_mtl",
            "args": {"data_root": str(data_root), "words": words, "vocabulary": vocabulary, "repeats": repeats},
        },
        notes=(
            "some reviews are in training and in test, word for word: published scores are with them"
            if repeats
            else "training reviews that are also in test or validation were left out: published scores are with them",
        ),
    )


def _without_repeats(parts: dict[str, dict[str, Reviews]]) -> dict[str, dict[str, Reviews]]:
    """Every review in one split only: in test rather than in validation, in validation rather than in training."""
    seen: set[str] = set()
    kept = {}
    for split in ("test", "validation", "train"):
        words = {name: _plain(each.texts) for name, each in parts[split].items()}
        kept[split] = {
            name: each.where(pl.Series([text not in seen for text in words[name]], dtype=pl.Boolean))
            for name, each in parts[split].items()
        }
        seen.update(text for texts in words.values() for text in texts)
    return {split: kept[split] for split in parts}


def _plain(texts: pl.Series) -> list[str]:
    """Texts as their words, so that blanks and capitals make no difference."""
    return texts.str.to_lowercase().str.extract_all(WORD).list.join(" ").to_list()


def _stacked(domains: dict[str, Reviews], encoder: TextEncoder) -> TensorData:
    """The reviews of all domains as one data set, each with a label for its own task."""
    return mixture({
        name: TensorData(
            {TEXT: torch.from_numpy(encoder.inputs(each.texts.alias(TEXT))[TEXT])},
            {name: torch.from_numpy(each.labels)},
        )
        for name, each in domains.items()
    })  # fmt: skip
