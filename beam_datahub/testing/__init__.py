"""The conformance kit: run one transformation over given rows, as the real pipeline would."""

from __future__ import annotations

from beam_datahub.testing.steps import StepRun, run_step

__all__ = ["StepRun", "run_step"]
