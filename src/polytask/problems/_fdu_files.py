"""The files of FDU-MTL: a line is a label, a tab and the words of a review."""

import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polytask.errors import PolytaskError

ARCHIVE = "fdu_mtl/fdu_mtl.tar.xz"
FOLDERS = ("fdu_mtl", "fdu-mtl")
PARTS = ("train", "test")
LABELS = {"0": 0, "1": 1}


@dataclass(frozen=True)
class Reviews:
    """Some reviews of one domain.

    Args:
        texts: [n] strings.
        labels: [n] int64, 0 or 1.
    """

    texts: pl.Series
    labels: np.ndarray[Any, np.dtype[np.int64]]

    def __getitem__(self, rows: slice) -> "Reviews":
        return Reviews(self.texts[rows], self.labels[rows])

    def where(self, kept: pl.Series) -> "Reviews":
        """Those that are to be kept, [n] of True and False."""
        return Reviews(self.texts.filter(kept), self.labels[kept.to_numpy()])


def read_reviews(root: Path) -> dict[str, dict[str, Reviews]]:
    """The reviews of every domain, "train" and "test" in the order of their files; domains by the alphabet.

    Raises:
        PolytaskError: there are no such files, a domain lacks one of the two, or a line is of another form.
    """
    found: dict[str, dict[str, Reviews]] = {}
    for name, content in _contents(root):
        domain, _, rest = name.partition(".")
        if rest in {f"task.{part}" for part in PARTS}:
            found.setdefault(domain, {})[rest.removeprefix("task.")] = _reviews(content, name)
    if not found:
        raise PolytaskError(f"no reviews below {root}: expected {ARCHIVE}, or a folder of files like books.task.train")
    for domain, parts in found.items():
        if len(parts) < len(PARTS):
            raise PolytaskError(
                f"of '{domain}' there is only {domain}.task.{next(iter(parts))}; train and test are needed"
            )
    return {domain: found[domain] for domain in sorted(found, key=str.lower)}


def _contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of every file."""
    archive = root / ARCHIVE
    if archive.is_file():
        try:
            with tarfile.open(archive) as files:
                for member in files:
                    if member.isfile() and (content := files.extractfile(member)):
                        yield Path(member.name).name, content.read()
        except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
            raise PolytaskError(
                f"{archive} is no whole archive ({type(error).__name__}: {error}); copy it again"
            ) from error
        return
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*.task.*")):
            yield path.name, path.read_bytes()


def _reviews(content: bytes, name: str) -> Reviews:
    """The lines of a file; some hold signs of several encodings, so that only "\\n" ends a line."""
    lines = [line for line in content.decode("latin-1").split("\n") if line.strip()]
    labels, texts = [], []
    for number, line in enumerate(lines, 1):
        label, tab, text = line.partition("\t")
        if not tab or label.strip() not in LABELS:
            raise PolytaskError(f"line {number} of {name}: expected 0 or 1, a tab and a text, got '{line[:40]}'")
        labels.append(LABELS[label.strip()])
        texts.append(text)
    return Reviews(pl.Series(texts, dtype=pl.String), np.array(labels, np.int64))
