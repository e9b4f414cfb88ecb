"""Tables of your own: read CSV and Parquet, see what each column was taken for, split, encode."""

from polytask.data.tables.kinds import BOOLEAN, CATEGORY, DATE, DROP, KINDS, NUMBER, Kind
from polytask.data.tables.overrides import Overrides
from polytask.data.tables.prepare import PreparedTable, prepare
from polytask.data.tables.preprocessing import TablePreprocessing
from polytask.data.tables.reading import MISSING, mark_missing, read_table
from polytask.data.tables.schema import Column, TableSchema, infer
from polytask.data.tables.targets import TARGET_KINDS, Target

__all__ = [
    "BOOLEAN",
    "CATEGORY",
    "DATE",
    "DROP",
    "KINDS",
    "MISSING",
    "NUMBER",
    "TARGET_KINDS",
    "Column",
    "Kind",
    "Overrides",
    "PreparedTable",
    "TablePreprocessing",
    "TableSchema",
    "Target",
    "infer",
    "mark_missing",
    "prepare",
    "read_table",
]
