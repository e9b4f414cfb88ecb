"""Many runs and what follows from them: compare, search, records, summary, verdict, report."""

from polytask.study.arms import SINGLE_TASK, Arm
from polytask.study.auxiliaries import Auxiliaries, auxiliaries
from polytask.study.brought import AuxiliarySummary, Brought
from polytask.study.compare import Study, compare
from polytask.study.hidden import with_label_share, with_labels
from polytask.study.levels import split_levels
from polytask.study.rare import Correlation, RareClasses, rank_correlation, rare_classes
from polytask.study.rehearse import rehearse
from polytask.study.run import Job, train
from polytask.study.search import TPE, Dirichlet, Grid, Sampler, Search, Trial, search_weights
from polytask.study.summarise import summarise
from polytask.study.summary import ArmSummary, MetricInfo, Summary, TaskInfo
from polytask.study.transfer import Transfer, transfer
from polytask.study.transferred import TransferSize, TransferSummary
from polytask.study.unseen import Unseen, unseen
from polytask.study.untold import UnseenSummary, UnseenTask

__all__ = [
    "SINGLE_TASK",
    "TPE",
    "Arm",
    "ArmSummary",
    "Auxiliaries",
    "AuxiliarySummary",
    "Brought",
    "Correlation",
    "Dirichlet",
    "Grid",
    "Job",
    "MetricInfo",
    "RareClasses",
    "Sampler",
    "Search",
    "Study",
    "Summary",
    "TaskInfo",
    "Transfer",
    "TransferSize",
    "TransferSummary",
    "Trial",
    "Unseen",
    "UnseenSummary",
    "UnseenTask",
    "auxiliaries",
    "compare",
    "rank_correlation",
    "rare_classes",
    "rehearse",
    "search_weights",
    "split_levels",
    "summarise",
    "train",
    "transfer",
    "unseen",
    "with_label_share",
    "with_labels",
]
