import sys
from pathlib import Path

# The helpers of the report's tests.
sys.path.append(str(Path(__file__).parents[1] / "report"))
