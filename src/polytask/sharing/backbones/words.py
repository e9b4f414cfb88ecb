"""Texts as vectors: word vectors, averaged and convolved."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing.backbones.inputs import PartInput


@dataclass(frozen=True)
class Words:
    r"""A text as the mean of its word vectors, and, where `windows` are given, as the strongest answers of filters.

    Word numbers [b, n], 0 where there is no word, become vectors v_1 ... v_m of `width` numbers, learned with the rest.

        mean = (v_1 + ... + v_m) / m, zeros for an empty text;
        c_j = max over i of relu(w_j . [v_i, ..., v_{i+h-1}] + b_j), for `filters` filters w_j of every window h.

    The output is [b, width + filters * len(windows)], or without the first `width` where `mean` is False.

    Args:
        vocabulary: how many different numbers there are, 0 included; 0: as many as the data have.
        width: of a word vector.
        windows: lengths h of filters, in words; none by default.
        filters: of each window.
        mean: whether the mean is part of the output.

    Called, it makes a fresh module with weights from torch's global generator.

    Raises:
        PolytaskError: nothing would be read (no mean and no window), or a number is below one.

    Source: filters: Kim 2014, Convolutional Neural Networks for Sentence Classification; windows 3, 4 and 5 with 100
    filters each and ReLU, and dropout .5 above them (`Fusion(dropout=0.5)`), are its settings as others quote them (of
    the paper itself, the abstract was read). Differs: a window may reach beyond the end of the text (zeros) but not
    begin there, so that the output does not hang on how far a text is padded; no bound on the norms of the weights.
    Mean: Iyyer, Manjunatha, Boyd-Graber, Daumé III 2015, Deep Unordered Composition Rivals Syntactic Methods for Text
    Classification (abstract and summaries were read), without its word dropout.

    Cost: b n width for the mean; b n width h filters multiply-adds for each window.

    >>> part = Words(vocabulary=5, width=2)()
    >>> with torch.no_grad():
    ...     _ = part.vectors.weight[1:].copy_(torch.arange(2, 10.0).view(4, 2))
    >>> part(torch.tensor([[1, 3, 0], [0, 0, 0]])).tolist()  # the mean of (2, 3) and (6, 7); an empty text
    [[4.0, 5.0], [0.0, 0.0]]
    """

    vocabulary: int = 0
    width: int = 64
    windows: tuple[int, ...] = ()
    filters: int = 100
    mean: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))
        if min(self.width, self.filters, *self.windows) < 1 or self.vocabulary < 0:
            raise PolytaskError(f"width, filters and windows of Words must be at least 1, got {self}")
        if not self.mean and not self.windows:
            raise PolytaskError("Words(mean=False) reads nothing of a text; give windows, as in windows=(3, 4, 5)")

    def suited(self, to: PartInput) -> "Words":
        """The same, for as many words as the input has."""
        return replace(self, vocabulary=self.vocabulary or to.vocabulary)

    def __call__(self) -> "WordVectors":
        if not self.vocabulary:
            raise PolytaskError("Words needs to know how many words there are: Words(vocabulary=...)")
        return WordVectors(self)


class WordVectors(nn.Module):
    """The module that `Words` makes: word numbers [b, n] in, [b, width] out."""

    def __init__(self, recipe: Words) -> None:
        super().__init__()
        self.recipe = recipe
        self.vectors = nn.Embedding(recipe.vocabulary, recipe.width, padding_idx=0)
        self.filters = nn.ModuleList(nn.Conv1d(recipe.width, recipe.filters, window) for window in recipe.windows)
        self.width = recipe.mean * recipe.width + recipe.filters * len(recipe.windows)

    def forward(self, words: Tensor) -> Tensor:
        check_words(words)
        there = words > 0
        try:
            vectors = self.vectors(words)  # zeros where there is no word
        except IndexError:
            raise PolytaskError(
                f"a text holds word number {int(words.max())}, expected 0 to {self.recipe.vocabulary - 1}; give Words "
                "the vocabulary of the preprocessing"
            ) from None
        found = []
        if self.recipe.mean:
            found.append(vectors.sum(1) / there.sum(1, keepdim=True).clamp(min=1))
        found.extend(self._strongest(each, vectors, there) for each in self.filters)
        return torch.cat(found, 1)

    def _strongest(self, filters: Any, vectors: Tensor, there: Tensor) -> Tensor:
        """The strongest answer of each filter over the windows that begin with a word, [b, filters]."""
        beyond = F.pad(vectors.transpose(1, 2), (0, filters.kernel_size[0] - 1))
        return (filters(beyond).relu() * there[:, None]).amax(2)


def check_words(words: Any) -> None:
    """Raise unless these are word numbers [b, n]."""
    if not isinstance(words, Tensor) or words.ndim != 2 or words.is_floating_point():
        came = f"{words.dtype} {list(words.shape)}" if isinstance(words, Tensor) else type(words).__name__
        raise PolytaskError(f"expected texts as word numbers, whole numbers of shape [b, n], got {came}")
