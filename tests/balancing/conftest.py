"""Lets the tests of balancing import `balancing_cases`, the one list that a new method joins."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
