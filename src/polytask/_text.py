"""Small helpers for words shown to people."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Say what is allowed, nearest first.

    >>> did_you_mean("acurracy", ["f1", "accuracy"])
    "did you mean 'accuracy'? Allowed: f1, accuracy"
    """
    names = [str(each) for each in allowed]
    near = nearest(name, names)
    hint = f"did you mean '{near}'? " if near is not None else ""
    return f"{hint}Allowed: {', '.join(names) if names else '(none)'}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, if any.

    >>> nearest("Agee", ["job", "age"])
    'age'
    """
    by_lower = {each.lower(): each for each in names}
    near = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.55)
    return by_lower[near[0]] if near else None


def listed(names: Sequence[str], most: int, between: str = ", ") -> str:
    """Names one after the other; of more than so many, how many there are besides.

    >>> listed(["a", "b", "c"], 2), listed(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more
