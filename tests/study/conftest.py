"""Lets the tests of the study import `study_cases`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
