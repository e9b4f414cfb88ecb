"""Small helpers for words shown to people."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Say what is allowed, nearest first.

    >>> did_you_mean("acurracy", ["f1", "accuracy"])
    "did you mean 'accuracy'? Allowed: f1, accuracy"
    """
    names = [str(each) for each in allowed]
    by_lower = {each.lower(): each for each in names}
    near = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.55)
    hint = f"did you mean '{by_lower[near[0]]}'? " if near else ""
    return f"{hint}Allowed: {', '.join(names) if names else '(none)'}"
