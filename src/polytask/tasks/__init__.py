"""The words that everything else speaks: what a task is, its loss, its metrics, its missing labels."""

from polytask.tasks.binary_maps import BinaryMap
from polytask.tasks.classification import Binary, MultiClass, MultiLabel
from polytask.tasks.colours import MISSING_COLOUR, class_colours, range_colours
from polytask.tasks.dense import Dense
from polytask.tasks.depth import Depth
from polytask.tasks.edge_matching import OptimalF
from polytask.tasks.edges import Edges
from polytask.tasks.landmarks import Landmarks
from polytask.tasks.many import Many, of_members
from polytask.tasks.many_kinds import ManyBinary, ManyMultiClass, ManyRegression
from polytask.tasks.map_metrics import (
    ForegroundIoU,
    MaxF,
    MeanError,
    MeanIoU,
    MedianError,
    PeakSignalToNoise,
    PixelAccuracy,
    RootMeanSquare,
    Share,
    confusion,
)
from polytask.tasks.member_heads import MemberHeads
from polytask.tasks.member_metrics import MemberAccuracy, MemberAUROC, MemberError, mean_over, worst_tenth
from polytask.tasks.normals import Normals, angles
from polytask.tasks.reconstruction import Reconstruction
from polytask.tasks.regression import Regression
from polytask.tasks.segmentation import Segmentation
from polytask.tasks.task import MISSING_CLASS, Task, losses, present

__all__ = [
    "MISSING_CLASS",
    "MISSING_COLOUR",
    "Binary",
    "BinaryMap",
    "Dense",
    "Depth",
    "Edges",
    "ForegroundIoU",
    "Landmarks",
    "Many",
    "ManyBinary",
    "ManyMultiClass",
    "ManyRegression",
    "MaxF",
    "MeanError",
    "MeanIoU",
    "MedianError",
    "MemberAUROC",
    "MemberAccuracy",
    "MemberError",
    "MemberHeads",
    "MultiClass",
    "MultiLabel",
    "Normals",
    "OptimalF",
    "PeakSignalToNoise",
    "PixelAccuracy",
    "Reconstruction",
    "Regression",
    "RootMeanSquare",
    "Segmentation",
    "Share",
    "Task",
    "angles",
    "class_colours",
    "confusion",
    "losses",
    "mean_over",
    "of_members",
    "present",
    "range_colours",
    "worst_tenth",
]
