"""The plan of benchmarks/scale_plan.py against what can be worked out by hand."""

from __future__ import annotations

import pytest
from scale_plan import simulate


def test_equal_workers_share_equal_parts() -> None:
    plan = simulate(12, 3600.0, 4, spread=0.0, deaths_per_hour=0.0, start_seconds=0)
    assert (plan.hours, plan.worker_hours, plan.efficiency) == pytest.approx((3, 12, 1))
    # One part more keeps three workers waiting.
    plan = simulate(13, 3600.0, 4, spread=0.0, deaths_per_hour=0.0, start_seconds=1800)
    assert (plan.hours, plan.restarts) == (pytest.approx(4.5), 0)


def test_a_dead_worker_costs_what_it_had_done() -> None:
    calm = simulate(400, 600.0, 4, spread=0.1, deaths_per_hour=0.0, start_seconds=60)
    plan = simulate(400, 600.0, 4, spread=0.1, deaths_per_hour=0.6, start_seconds=60)
    # A part of ten minutes meets a death with probability 1 - exp(-0.1).
    assert 20 < plan.restarts < 70
    assert calm.worker_hours < plan.worker_hours < 1.2 * calm.worker_hours
