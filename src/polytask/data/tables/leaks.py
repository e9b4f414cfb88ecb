"""Input columns that are a target in another dress."""

from collections.abc import Iterable, Iterator

import polars as pl

from polytask.data.tables.conversion import to_words


def recodings(frame: pl.DataFrame, inputs: Iterable[str], targets: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs (input, target) where one column tells the other exactly.

    Either each value of one goes with one value of the other and back (for columns with repeated values), or
    both are numbers and a straight line leads from one to the other (|correlation| above 0.999999). Rows
    where either is missing don't count. Blends of several columns are not looked for.

    Cost: a hash of two columns per pair with equal numbers of values.

    >>> frame = pl.DataFrame({"pay": [1, 2, 1, 2, 1], "rich": ["no", "yes", "no", "yes", "no"]})
    >>> list(recodings(frame, ["pay"], ["rich"]))
    [('pay', 'rich')]
    """
    inputs = list(inputs)
    for target in targets:
        labelled = frame[target].is_not_null()
        for name in inputs:
            both = frame.select(name, target).filter(labelled & frame[name].is_not_null())
            if both.height > 2 and _possible(both.head(SAMPLE)) and (_one_to_one(both) or _straight(both)):
                yield name, target


SAMPLE = 2000
"""Nearly all pairs are ruled out by their first rows."""


def _possible(both: pl.DataFrame) -> bool:
    first, second = (column.n_unique() for column in both.iter_columns())
    return first == second == both.n_unique()


def _one_to_one(both: pl.DataFrame) -> bool:
    return _possible(both) and 2 <= both[both.columns[0]].n_unique() <= both.height / 2


def _straight(both: pl.DataFrame) -> bool:
    left, right = both.iter_columns()
    if not (left.dtype.is_numeric() and right.dtype.is_numeric()):
        if any(column.dtype.is_nested() or isinstance(column.dtype, pl.Binary) for column in (left, right)):
            return False  # vectors and pictures
        words = [to_words(column) for column in (left, right)]
        return bool((words[0] == words[1]).all())
    found = both.select(pl.corr(*both.columns)).item()
    return found is not None and abs(found) > 0.999999
