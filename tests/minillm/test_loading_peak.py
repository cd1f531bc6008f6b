"""Loading never holds two copies: the peak of a process that loads 500 MB of random weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "loading_peak.py"
SOAK = ("float32-float32", "bfloat16-bfloat16", "bfloat16-float32", "float16-float32")


@pytest.mark.parametrize(
    "dtypes",
    ["float32-bfloat16", *(pytest.param(pair, marks=pytest.mark.soak) for pair in SOAK)],
)
def test_loading_peaks_below_its_limit(dtypes: str) -> None:
    command = [sys.executable, str(SCRIPT), "--megabytes", "500", "--dtypes", dtypes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, ratio, limit = done.stdout.splitlines()[-1].split()
    assert 0.5 < float(ratio) <= float(limit) == 1.25
