"""A run that could not be finished."""

from __future__ import annotations

from beam_datahub.errors.failure import DataHubError


class RunError(DataHubError):
    """A run that could not be finished."""

    code = "DH399"
    exit_status = 5


class StepFailed(RunError):
    """A step broke on all of its data."""

    code = "DH301"


class TooManyRejected(RunError):
    """More rejected records than the budget allows."""

    code = "DH302"
    exit_status = 6


class BooksUnbalanced(RunError):
    """Records cannot be accounted for."""

    code = "DH303"
    exit_status = 7


class MissingDependency(RunError):
    """An optional part is not installed."""

    code = "DH304"


class EngineFailed(RunError):
    """An engine that does not start, does not answer, or is lost in the middle of a run."""

    code = "DH307"


class Interrupted(RunError):
    """The user stopped the run."""

    code = "DH305"
    exit_status = 130
    advice = "run it again: a batch starts afresh, a stream goes on from what it had committed"


class RunLost(RunError):
    """The process of a run ended without a word."""

    code = "DH310"
    advice = "nothing of it is half-written at a destination; run it again"


class ExpectationFailed(RunError):
    """A test of the spec does not hold."""

    code = "DH306"
    exit_status = 1


class QualityFailed(RunError):
    """A quality rule whose action is to fail the run is broken; nothing was published."""

    code = "DH320"
    exit_status = 8


class NotReplayable(RunError):
    """Rejected records that cannot be replayed in this way."""

    code = "DH350"


class UnknownRun(RunError):
    """A run that the store does not have, or one in a state in which it cannot be asked for this."""

    code = "DH351"
    advice = "`beam-datahub runs list` shows them"


class ReplayUnfinished(RunError):
    """A replay that has published a part of its output; the rest follows when it is asked for again."""

    code = "DH352"
    advice = "mend what stopped it, then replay the same run again: it goes on where it stopped"
