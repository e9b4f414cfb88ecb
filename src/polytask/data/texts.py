"""Texts as vectors of numbers, without anything learned."""

from collections.abc import Mapping

from sklearn.feature_extraction.text import HashingVectorizer

from polytask.errors import PolytaskError


def hashed_words(texts: Mapping[str, str], numbers: int = 64) -> dict[str, tuple[float, ...]]:
    r"""A vector for every text: v_j = sum over its words w with h(w) = j of s(w), divided by the length of v.

    h (0 to `numbers` - 1) and the sign s are hashes, so that texts that share words have similar vectors, and a text
    that is met later lies in the same space. Words are letters and digits in small letters, at least two together.

    Args:
        texts: by name, say descriptions of tasks (`Task.descriptor`).
        numbers: length of the vectors; with fewer numbers than words, words fall together.

    Raises:
        PolytaskError: a text without a word.

    Source: Weinberger, Dasgupta, Langford, Smola, Attenberg 2009, Feature Hashing for Large Scale Multitask Learning;
    computed by scikit-learn's `HashingVectorizer`.

    >>> near = hashed_words({"a": "red wine", "b": "white wine", "c": "motor oil"}, numbers=256)
    >>> [round(sum(x * y for x, y in zip(near["a"], near[other])), 1) for other in ("a", "b", "c")]
    [1.0, 0.5, 0.0]
    """
    vectors = HashingVectorizer(n_features=numbers).transform(texts.values()).toarray()
    for name, vector in zip(texts, vectors, strict=True):
        if not vector.any():
            raise PolytaskError(f"the text of '{name}' has no word: {texts[name]!r}; describe it by at least one")
    return {name: tuple(vector.tolist()) for name, vector in zip(texts, vectors, strict=True)}
