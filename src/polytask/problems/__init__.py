"""Named problems: tasks, data in three splits, source and licence. `__all__` is the catalogue."""

from polytask.problems.adult import adult
from polytask.problems.breast_cancer import breast_cancer
from polytask.problems.census_income import census_income
from polytask.problems.cifar10 import cifar10
from polytask.problems.digits import digits
from polytask.problems.faces import faces
from polytask.problems.fdu_mtl import fdu_mtl
from polytask.problems.harbours import harbours
from polytask.problems.many_sines import many_sines
from polytask.problems.mtfl import mtfl
from polytask.problems.multi_mnist import multi_mnist
from polytask.problems.nyuv2 import nyuv2
from polytask.problems.pacs import pacs
from polytask.problems.problem import Problem
from polytask.problems.rooms import rooms
from polytask.problems.school import school
from polytask.problems.superclasses import cifar100, superclasses
from polytask.problems.table import table

__all__ = [
    "Problem",
    "adult",
    "breast_cancer",
    "census_income",
    "cifar10",
    "cifar100",
    "digits",
    "faces",
    "fdu_mtl",
    "harbours",
    "mtfl",
    "many_sines",
    "multi_mnist",
    "nyuv2",
    "pacs",
    "rooms",
    "school",
    "superclasses",
    "table",
]
