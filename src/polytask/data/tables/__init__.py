"""Tables of your own: read files and folders of them, see what each column was taken for, split, encode."""

from polytask.data.tables.columns import ColumnsOnDisk, on_disk
from polytask.data.tables.joining import Join
from polytask.data.tables.kinds import BOOLEAN, CATEGORY, DATE, DROP, IMAGE, KINDS, NUMBER, TEXT, VECTOR, Kind
from polytask.data.tables.overrides import Overrides
from polytask.data.tables.prepare import PreparedTable, prepare
from polytask.data.tables.preprocessing import TablePreprocessing
from polytask.data.tables.reading import MISSING, mark_missing, read_table
from polytask.data.tables.schema import Column, TableSchema, infer
from polytask.data.tables.sources import RawTable, files_of, is_table, open_table
from polytask.data.tables.split_rule import SplitRule
from polytask.data.tables.store import Store
from polytask.data.tables.targets import TARGET_KINDS, Target

__all__ = [
    "BOOLEAN",
    "CATEGORY",
    "DATE",
    "DROP",
    "IMAGE",
    "KINDS",
    "MISSING",
    "NUMBER",
    "TARGET_KINDS",
    "TEXT",
    "VECTOR",
    "Column",
    "ColumnsOnDisk",
    "Join",
    "Kind",
    "Overrides",
    "PreparedTable",
    "RawTable",
    "SplitRule",
    "Store",
    "TablePreprocessing",
    "TableSchema",
    "Target",
    "files_of",
    "infer",
    "is_table",
    "mark_missing",
    "on_disk",
    "open_table",
    "prepare",
    "read_table",
]
