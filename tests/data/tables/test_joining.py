"""Two tables as one: what is matched, what is filled, what they disagree about."""

from pathlib import Path

import polars as pl
import pytest

from polytask import problems
from polytask.data.tables import Join, Overrides, open_table, read_table
from polytask.errors import PolytaskError

PEOPLE = pl.DataFrame({"who": [1, 2, 3, 4], "age": [31, None, 52, 40], "home": ["york", "NA", "bath", "kent"]})
VISITS = pl.DataFrame({"who": [3, 1, 9], "home": ["bath", "york", "hull"], "pressure": [120.0, 95.0, 80.0]})


def joined(
    tmp_path: Path, left: pl.DataFrame, right: pl.DataFrame, *key: str, take: tuple[str, ...] = ()
) -> pl.DataFrame:
    left.write_parquet(tmp_path / "people.parquet")
    right.write_parquet(tmp_path / "visits.parquet")
    return read_table(tmp_path / "people.parquet", joins=[Join(tmp_path / "visits.parquet", key, take)])


def test_rows_stay_in_their_order_and_get_the_columns_of_their_partner(tmp_path: Path) -> None:
    found = joined(tmp_path, PEOPLE, VISITS, "who")
    assert found.drop("pressure").equals(PEOPLE.with_columns(home=pl.Series(["york", None, "bath", "kent"])))
    assert found["pressure"].to_list() == [95.0, None, 120.0, None]


def test_rows_without_a_partner_are_told(tmp_path: Path) -> None:
    joined(tmp_path, PEOPLE, VISITS, "who")
    notes = open_table(tmp_path / "people.parquet", joins=[Join(tmp_path / "visits.parquet", ("who",))]).notes
    assert [note.split(" rows")[0] for note in notes] == ["2 of 4", "1 of 3"]


def test_several_keys(tmp_path: Path) -> None:
    left = pl.DataFrame({"who": [1, 1], "day": ["mon", "tue"]})
    right = pl.DataFrame({"who": [1, 1], "day": ["tue", "mon"], "x": [2, 1]})
    assert joined(tmp_path, left, right, "who", "day")["x"].to_list() == [1, 2]


def test_a_missing_cell_is_filled_and_never_a_disagreement(tmp_path: Path) -> None:
    found = joined(tmp_path, PEOPLE, pl.DataFrame({"who": [1, 2, 3], "home": ["?", "hove", "bath"]}), "who")
    assert found["home"].to_list() == ["york", "hove", "bath", "kent"]


def test_two_sources_that_disagree_about_a_row_are_told(tmp_path: Path) -> None:
    wrong = VISITS.with_columns(home=pl.Series(["bath", "leeds", "hull"]))
    told = r"disagree about 'home' in 1 rows, .* with who 1: 'york' and 'leeds'; .*\(columns: \[pressure\]\)"
    with pytest.raises(PolytaskError, match=told):
        joined(tmp_path, PEOPLE, wrong, "who")
    assert joined(tmp_path, PEOPLE, wrong, "who", take=("pressure",))["home"].to_list()[0] == "york"


@pytest.mark.parametrize(
    "right, key, message",
    [
        (VISITS.rename({"who": "whom"}), "who", r"visits.parquet has no key column 'who': did you mean 'whom'"),
        (VISITS, "pressure", r"people.parquet has no key column 'pressure'"),
        (VISITS.cast({"who": pl.String}), "who", r"'who' holds numbers in .* and text in .*can't be matched"),
        (pl.concat([VISITS, VISITS[:1]]), "who", r"has 2 rows with who 3 \(1 keys .* more than once\)"),
        (VISITS.with_columns(pl.col("who") + 100), "who", r"no row of .* has a partner in .* by who"),
        (VISITS.with_columns(home=pl.lit(7)), "who", r"'home' holds text in .* and numbers in "),
    ],
)
def test_tables_that_can_not_be_joined(tmp_path: Path, right: pl.DataFrame, key: str, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        joined(tmp_path, PEOPLE, right, key)


def test_a_column_to_take_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match="has no column 'presure': did you mean 'pressure'"):
        joined(tmp_path, PEOPLE, VISITS, "who", take=("presure",))


def test_the_yaml_file_joins(tmp_path: Path) -> None:
    rows = range(300)
    pl.DataFrame({"who": [f"p{k}" for k in rows], "x": [k * 7 % 31 + 0.5 for k in rows]}).write_csv(tmp_path / "a.csv")
    labels = pl.DataFrame({"who": [f"p{k}" for k in rows], "ill": [k * 7 % 31 > 15 for k in rows]})
    labels.reverse().write_parquet(tmp_path / "b.parquet")
    file = tmp_path / "said.yaml"
    file.write_text("targets: [ill:binary]\ncolumns: {who: drop}\njoin:\n  - table: b.parquet\n    key: who\n")
    problem = problems.table(tmp_path / "a.csv", schema=file)
    train = problem.splits["train"]
    assert ((train.inputs["numbers"][:, 0] > 0) == (train.targets["ill"] == 1)).float().mean() > 0.9


@pytest.mark.parametrize(
    "text, message",
    [
        ("join: {table: b.csv}", r"said.yaml, line 1.*: a table under 'join' needs 'key'"),
        ("join:\n  - key: who", r"line 2.*: a table under 'join' needs 'table'"),
        ("join:\n  - table: b.csv\n    keys: who", r"line 3.*: unknown entry 'keys': did you mean 'key'"),
    ],
)
def test_mistakes_in_the_yaml_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "said.yaml").write_text(text)
    with pytest.raises(PolytaskError, match=message):
        Overrides.read(tmp_path / "said.yaml")
