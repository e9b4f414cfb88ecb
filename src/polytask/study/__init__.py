"""Many runs and what follows from them: compare, records, summary, verdict, report."""

from polytask.study.arms import SINGLE_TASK, Arm
from polytask.study.compare import Study, compare
from polytask.study.rehearse import rehearse
from polytask.study.run import Job, train
from polytask.study.summarise import summarise
from polytask.study.summary import ArmSummary, MetricInfo, Summary, TaskInfo

__all__ = [
    "SINGLE_TASK",
    "Arm",
    "ArmSummary",
    "Job",
    "MetricInfo",
    "Study",
    "Summary",
    "TaskInfo",
    "compare",
    "rehearse",
    "summarise",
    "train",
]
