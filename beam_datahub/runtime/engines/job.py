"""Waits for the end of a job behind Beam's job service, also when the connection to the service is lost meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]  # publishes no types
import tenacity
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.runners.portability.portable_runner import PipelineResult, PortableRunner

from beam_datahub.errors import EngineFailed

LOGGER = logging.getLogger("beam_datahub.engine")

# The service tells of each change of state by itself; it is asked as well, because nobody tells of a connection that is dead.
_ASK_SECONDS = 10.0
_REPLY_SECONDS = 30.0
_LAST_WORDS_SECONDS = 10.0
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_ENDED = (api.JobState.DONE, api.JobState.DRAINED, api.JobState.FAILED, api.JobState.CANCELLED)
_LEVELS = {
    api.JobMessage.JOB_MESSAGE_DEBUG: logging.DEBUG,
    api.JobMessage.JOB_MESSAGE_DETAILED: logging.DEBUG,
    api.JobMessage.JOB_MESSAGE_WARNING: logging.WARNING,
    api.JobMessage.JOB_MESSAGE_ERROR: logging.ERROR,
}


class PatientRunner(PortableRunner):
    """Beam's portable runner, whose jobs outlast a lost connection. `gone` says why the service cannot come back, None while
    it may.
    """

    def __init__(self, patience_seconds: float, gone: Callable[[], EngineFailed | None] = lambda: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._patience, self._gone = patience_seconds, gone

    def run_portable_pipeline(self, pipeline: Any, options: Any) -> Job:
        """Submit the job."""
        return Job(super().run_portable_pipeline(pipeline, options), self._patience, self._gone)


class Job(PipelineResult):
    """A job that a job service runs."""

    def __init__(self, running: Any, patience_seconds: float, gone: Callable[[], EngineFailed | None]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            running._job_service, running._job_id, running._message_stream, running._state_stream, running._cleanup_callbacks
        )
        # Only one of the two is to stop the workers.
        running._cleanup_callbacks = ()
        self._patience, self._gone = patience_seconds, gone
        self._service, self._id = running._job_service, running._job_id
        self._news = threading.Event()
        self._last_error = ""
        self._reached = True

    def wait_until_finish(self, duration: int | None = None) -> str:
        """Return when the job is through, however long that takes.

        Raises RuntimeError with the engine's words where it failed, EngineFailed where the service stays away for too long or
        does not know the job any more.
        """
        messages = self._listen("messages", self._read_messages)
        states = self._listen("states", self._read_states)
        try:
            while (state := self._asked_state()) not in _ENDED:
                self._news.wait(_ASK_SECONDS)
                self._news.clear()
                if self._reached:
                    states = states if states.is_alive() else self._listen("states", self._read_states)
                    messages = messages if messages.is_alive() else self._listen("messages", self._read_messages)
            messages.join(_LAST_WORDS_SECONDS)
        finally:
            self._cleanup()
        if state != api.JobState.DONE:
            name = api.JobState.Enum.Name(state)
            raise RuntimeError(self._last_error or f"the job {self._id} ended as {name.lower()}")
        return "DONE"

    def _asked_state(self) -> int:
        """The state of the job; waits for a service that cannot be reached, as long as patience lasts."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._may_come_back),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=5.0),
            stop=tenacity.stop_after_delay(self._patience),
            before_sleep=self._tell_lost,
            reraise=True,
        )
        try:
            found = attempts(self._service.GetState, api.GetJobStateRequest(job_id=self._id), timeout=_REPLY_SECONDS)
        except grpc.RpcError as error:
            raise self._gone() or self._lost(error) from error
        if not self._reached:
            LOGGER.warning("the job service answers again; the job %s goes on", self._id)
        self._reached = True
        return int(found.state)

    def _may_come_back(self, error: BaseException) -> bool:
        return isinstance(error, grpc.RpcError) and error.code() in _UNREACHABLE and self._gone() is None

    def _tell_lost(self, attempt: tenacity.RetryCallState) -> None:
        if self._reached:
            LOGGER.warning("the connection to the job service is lost; trying for %.0f s to reach it again", self._patience)
        self._reached = False

    def _lost(self, error: Any) -> EngineFailed:
        if error.code() in _UNREACHABLE:
            reason = (
                f"the job service has not answered for {self._patience:.0f} s: what became of the job {self._id} is not known"
            )
            hint = (
                "see on the cluster that it has ended, then run again; --engine-option --job_server_timeout=SECONDS waits longer"
            )
            return EngineFailed(reason, hint=hint)
        return EngineFailed(
            f"the job service does not know the job {self._id} any more: {str(error.details()).splitlines()[0][:200]}",
            hint="it was started anew in the middle of the run: see on the cluster that the job has ended, then run again",
        )

    def _listen(self, what: str, read: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=read, name=f"job {what}", daemon=True)
        thread.start()
        return thread

    def _read_states(self) -> None:
        try:
            for state in self._service.GetStateStream(api.GetJobStateRequest(job_id=self._id)):
                if state.state in _ENDED:
                    break
        except grpc.RpcError as error:
            LOGGER.debug("the states of the job cannot be read: %s", error)
        self._news.set()

    def _read_messages(self) -> None:
        try:
            for message in self._told():
                if message.importance == api.JobMessage.JOB_MESSAGE_ERROR:
                    self._last_error = message.message_text
                LOGGER.log(_LEVELS.get(message.importance, logging.INFO), "%s", message.message_text)
        except grpc.RpcError as error:
            LOGGER.debug("the messages of the job cannot be read: %s", error)

    def _told(self) -> Iterator[Any]:
        # What the service has told since the job was submitted waits in the stream of that time.
        first, self._message_stream = self._message_stream, None
        for each in first or self._service.GetMessageStream(api.JobMessagesRequest(job_id=self._id)):
            if each.HasField("message_response"):
                yield each.message_response
