"""What every test runs under: one thread, and a Hypothesis profile by name.

HYPOTHESIS_PROFILE=dev       a few random examples, for the inner loop
HYPOTHESIS_PROFILE=ci        200 examples, the same ones every time (the default: `make test`)
HYPOTHESIS_PROFILE=thorough  2,000 random examples
HYPOTHESIS_PROFILE=soak      20,000 random examples (`make soak`)
HYPOTHESIS_PROFILE=mutants   100 of those of ci, and no smaller failure is looked for
"""

from __future__ import annotations

import os
import sys

# Before torch is imported, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings

for name, examples, derandomised in (
    ("dev", 30, False),
    ("ci", 200, True),
    ("thorough", 2_000, False),
    ("soak", 20_000, False),
):
    settings.register_profile(
        name,
        max_examples=examples,
        derandomize=derandomised,
        deadline=None,
        print_blob=not derandomised,
        verbosity=Verbosity.normal,
        # Drawing a schema and a prompt that fit each other takes longer than drawing a number.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
settings.register_profile(
    "mutants",
    settings.get_profile("ci"),
    max_examples=100,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _torch() -> None:
    """Torch on one thread, as tests run side by side; and memory that was never written holds NaN.

    Tests that do without torch keep doing so.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = True
