"""Census-Income (KDD): income, marriage and education of about 100,000 people."""

from pathlib import Path

import numpy as np
import polars as pl

from polytask.data.tables import CATEGORY, DROP, Overrides, mark_missing, prepare
from polytask.problems._files import data_file
from polytask.problems._tables import coded_frame, table_problem
from polytask.problems.problem import Problem

FILE = "census_income/census_income_test_half.npz"
TARGET_COLUMNS = ("marital_stat", "education")
NO_FEATURES = ("instance_weight",)
PROXIES = ("det_hh_fam_stat", "det_hh_summ", "tax_filer_stat")
COLLEGE = (
    "Bachelors degree(BA AB BS)",
    "Masters degree(MA MS MEng MEd MSW MBA)",
    "Prof school degree (MD DDS DVM LLB JD)",
    "Doctorate degree(PhD EdD)",
)


def census_income(data_root: Path, seed: int = 0, keep_proxies: bool = False) -> Problem:
    """Income, marriage and education of US people of all ages, from the other answers of the surveys of
    1994-95.

    * Input: 7 numbers and 28 categories. Not inputs: the columns of the targets; `instance_weight`, a
      sampling weight; and three columns whose words give marriage away ("Child 18+ never marr ...", "Spouse
      of householder", "Joint both under 65").
    * Tasks, all binary: `income_50k` (6.2 % yes), `never_married` (43 %), `college` (a bachelor's degree or
      more).
    * Size: 99,762 rows, children included (for them the tasks are easy).
    * Split: ours, 70 / 15 / 15 % by `seed`, rows with the same inputs together. The file is the official
      *test* half; the training half is not used, so scores are not those of published tables.
    * Source: UCI Census-Income (KDD) (T. Lane, R. Kohavi 2000), file
      `census_income/census_income_test_half.npz`. Licence: CC BY 4.0 at UCI; none is stated with the file.

    The three tasks are those of Ma et al. (MMoE, KDD 2018, section 5.2).

    Args:
        data_root: the folder that holds the file.
        seed: draws the split.
        keep_proxies: keep the three columns that give marriage away, as most published tables do.

    Raises:
        PolytaskError: the file is not there.
    """
    with np.load(data_file(data_root, FILE)) as file:
        yes = np.array(["no", "yes"])
        categories = dict.fromkeys(map(str, file["cat_names"]), CATEGORY)
        frame = coded_frame(file).with_columns(pl.Series("income_50k", yes[file["income_50k"]]))
    answer = {True: "yes", False: "no"}
    frame = frame.with_columns(
        (pl.col("marital_stat") == "Never married").replace_strict(answer).alias("never_married"),
        pl.col("education").is_in(COLLEGE).replace_strict(answer).alias("college"),
    )
    dropped = TARGET_COLUMNS + NO_FEATURES + (() if keep_proxies else PROXIES)
    prepared = prepare(
        mark_missing(frame),
        ["income_50k:binary", "never_married:binary", "college:binary"],
        Overrides(columns=categories | dict.fromkeys(dropped, DROP)),
        seed,
    )
    return table_problem(
        prepared,
        name="census_income",
        summary="Income above 50,000 $, marriage and college degree of US people, from other survey answers",
        source="UCI Census-Income (KDD) (Lane, Kohavi 2000), the official test half",
        licence="CC BY 4.0 (UCI); none stated with the file",
        spec={
            "name": "census_income",
            "args": {"data_root": str(data_root), "seed": seed, "keep_proxies": keep_proxies},
        },
        notes=(
            "the split is our own, of the official test half: scores are not those of published tables",
            f"{', '.join(PROXIES)} give marriage away; they are "
            + ("inputs here" if keep_proxies else "not inputs, so scores are below published ones"),
        ),
    )
