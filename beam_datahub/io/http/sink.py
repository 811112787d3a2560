"""HTTP endpoints as a destination: rows are staged, sent once all else of a run has succeeded, and given back where refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ByteSize, Field, field_validator

from beam_datahub.component.capabilities import Delivery as DeliveryKind
from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.file_publish import Publication, Target
from beam_datahub.component.file_store import join, reading, store_of, writing
from beam_datahub.component.registry import register
from beam_datahub.component.retry import Attempts
from beam_datahub.component.returned import read_batches, returned_rows, write_returned
from beam_datahub.component.sink import Committed, Receipt, Returned, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report
from beam_datahub.component.staged_batches import StagingWriter, staged
from beam_datahub.errors import InvalidValue, LossyWrite, UnknownColumn
from beam_datahub.io.http.connection import HttpConnection, check_header
from beam_datahub.io.http.requests import PLACEHOLDER, Format, Request, placeholders, requests, unfit
from beam_datahub.kernels.rejection import ATTEMPTS, rejections
from beam_datahub.kernels.types import visible
from beam_datahub.spec.durations import Seconds

if TYPE_CHECKING:
    from beam_datahub.io.http.sending import Refusal

# After so many requests for each that may be under way, it is noted how far they have come.
_ROUNDS = 8


class HttpRetry(Attempts):
    """How a request is sent again that was not answered, or with a status that may pass: 408, 425, 429 and 5xx."""

    attempts: int = Field(default=5, ge=1, le=100)
    """How often it is sent, the first time included."""

    longest_wait: Annotated[Seconds, Field(gt=0)] = 300.0
    """How long all requests wait at most where the service asks for it with `Retry-After`."""

    outage_after: int = Field(default=20, ge=1)
    """So many requests that fail one behind the other, each in all of its attempts, mean that the service is away: the run fails,
    and no record is rejected for it."""


class HttpWriteOptions(Config):
    """Where records go, and how they become requests."""

    path: str = ""
    """What stands behind the connection's `url`, such as `orders/{order_id}`: a column's name in braces is its value,
    percent-encoded. A record whose value is null or empty there is rejected."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    """The method of the requests."""

    format: Format = "json"
    """What a body is: a record as a JSON object; several as an `array` of JSON, or as `ndjson`, one a line; or `none`."""

    leave_out: Names = ()
    """Columns that are no part of the body, such as those that only the `path` needs."""

    envelope: str | None = Field(default=None, min_length=1)
    """With `json` and `array`: the body is an object that has the record or the array under this key."""

    batch_rows: int | None = Field(default=None, ge=1)
    """With `array` and `ndjson`: how many records a request has at most, 100 when left out."""

    batch_bytes: ByteSize = Field(default=ByteSize(1024 * 1024), gt=0)
    """With `array` and `ndjson`: how large a body becomes at most; a larger record goes alone."""

    concurrency: int = Field(default=4, ge=1, le=256)
    """How many requests are under way at once; with 1 they go one behind the other, in the order of the rows of a bundle."""

    requests_per_second: float | None = Field(default=None, gt=0)
    """How many requests are sent in a second at most."""

    retry: HttpRetry = HttpRetry()
    """What becomes of a request that is not answered or that the service is too busy for: it is sent again, and its record
    goes to the dead letter as `undelivered` when the attempts are used up."""

    idempotency_header: str | None = Field(default="Idempotency-Key", min_length=1)
    """The header that has the same key whenever a request is repeated, by which a service can tell; null: none."""

    idempotency: Literal["commit", "content"] = "commit"
    """What the key is made of: the run and the request's place in it, so that the requests of two runs always differ; or the
    `content` (method, path and body), so that the same records have the same key in any run."""

    @field_validator("idempotency_header")
    @classmethod
    def _is_header(cls, name: str | None) -> str | None:
        if name is not None:
            check_header(name)
        return name


@register("sink", "http", since="0.1.0")
class HttpSink(Sink):
    """Sends records to an HTTP endpoint, one by one or in batches; those that it refuses go to the dead letter."""

    Connection: ClassVar[type[Config]] = HttpConnection
    Options: ClassVar[type[Config]] = HttpWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND,), delivery=DeliveryKind.AT_LEAST_ONCE, rejects=True, returns=True
    )
    streams = True
    examples = (
        Example(
            "One record a request",
            {
                "connection": {"url": "https://api.example.com/v1"},
                "path": "orders/{order_id}",
                "method": "PUT",
                "retry": {"attempts": 4, "backoff": {"initial_interval": "1 s", "max_interval": "30 s"}},
            },
        ),
        Example(
            "Batches under a key, no more than ten requests in a second",
            {
                "connection": {"url": "https://api.example.com/v1", "headers": {"X-Source": "shop"}},
                "path": "orders:batch",
                "format": "array",
                "envelope": "orders",
                "batch_rows": 500,
                "requests_per_second": 10,
            },
        ),
    )

    connection: HttpConnection
    options: HttpWriteOptions

    def check(self) -> Report:
        return self.connection.reached()

    def reach(self) -> Report:
        return self.connection.reached()

    def datasets(self) -> tuple[DatasetName, ...]:
        return (self.connection.dataset(self.options.path),)

    @property
    def place(self) -> str:
        """What is written to, without what may be secret in its address."""
        return self.connection.shown(self.options.path)

    def plan_write(self, request: WriteRequest) -> None:
        options, schema = self.options, request.schema
        if request.key:
            raise InvalidValue("the connector 'http' has no use for a `key`", hint="name columns in the `path`, as `{order_id}`")
        names = placeholders(options.path)
        for name in (*names, *options.leave_out):
            if name not in schema.names:
                raise UnknownColumn(name, schema.names)
        for name in names:
            kind = schema.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind):
                raise LossyWrite(f"the column '{name}' is no text and no number, and cannot stand in the `path`")
        batched = options.format in ("array", "ndjson")
        if names and batched:
            hint = "take `format: json`, which sends one record a request"
            raise InvalidValue(f"the `path` names the column '{names[0]}', and a request has many records", hint=hint)
        for option in ("batch_rows", "batch_bytes"):
            if not batched and option in options.model_fields_set:
                raise InvalidValue(f"`{option}` is for `format: array` and `ndjson`", hint="leave it out, or take one of those")
        if options.envelope is not None and options.format not in ("json", "array"):
            raise InvalidValue("`envelope` is for `format: json` and `array`", hint="leave it out, or take one of those")
        if "idempotency" in options.model_fields_set and options.idempotency_header is None:
            raise InvalidValue("`idempotency` says what the key is made of, and `idempotency_header` that there is none")
        _check_path(options.path)

    def prepare(self, request: WriteRequest) -> None:
        with self.connection.client():
            # What no request could be made with shows now.
            self.connection.address(self.options.path)
        self._publication(request).prepare()

    def open(self, request: WriteRequest) -> Writer:
        return _FittingWriter(self._publication(request), request.schema, self.options.path)

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        publication = self._publication(request)
        with publication.alone():
            done = publication.done()
        if done is not None:
            return done
        state = _State()
        if receipts:
            # Sending takes its time: others may write beside it meanwhile, and must not take this for left behind.
            publication.adopt()
            state = self._send(request, receipts, publication)
        given_back = Returned(publication.returned, dict(state.reasons)) if state.parts else None
        if given_back is not None:
            batches = (batch for part in state.parts for batch in read_batches(part))
            first = next(batches)
            write_returned(given_back.location, first.schema, chain([first], batches))
        rows = sum(receipt.rows for receipt in receipts) - sum(state.reasons.values())
        with publication.alone(), writing(publication.target.path):
            for path in (*(each.location for each in receipts), *state.parts, self._progress(request, publication)):
                # Of a stream, what other epochs have staged stays.
                if request.epoch is not None:
                    store_of(path).delete(path)
            return publication.finish(Committed(rows, sum(each.bytes for each in receipts), (self.place,), given_back))

    def abort(self, request: WriteRequest) -> None:
        publication = self._publication(request)
        with publication.alone():
            store_of(publication.returned).delete(publication.returned)
            publication.remove()

    def _publication(self, request: WriteRequest) -> Publication:
        name = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in self.place.partition("://")[2] or self.place)
        return Publication(Target(join(self.connection.staging, f"{name[:100]}.http"), False, ".arrow"), request)

    def _progress(self, request: WriteRequest, publication: Publication) -> str:
        """The file that tells how far a commit has come."""
        return publication.staged("sent.json" if request.epoch is None else f"sent.{request.epoch}.json")

    def _send(self, request: WriteRequest, receipts: Sequence[Receipt], publication: Publication) -> _State:
        """Send what is staged, behind what an earlier try is known to have sent."""
        from beam_datahub.io.http.sending import Delivery

        options, progress = self.options, self._progress(request, publication)
        state = _State.read(progress)
        with self.connection.client() as client, ThreadPoolExecutor(options.concurrency, "http") as pool:
            delivery = Delivery(client, self.connection, options, request)
            made = (each for each in requests(staged(receipts), options) if each.number >= state.requests)
            while some := list(islice(made, _ROUNDS * options.concurrency)):
                refused = [(each, found) for each, found in zip(some, delivery.send(pool, some), strict=True) if found]
                if refused:
                    # A try that breaks off before it is noted writes the same file again.
                    part = publication.staged(f"returned.{request.epoch or 0}.{state.requests}.arrow")
                    batches = [_given_back(each, found) for each, found in refused]
                    write_returned(part, batches[0].schema, batches)
                    state.parts.append(part)
                    state.reasons.update(why.reason for _, found in refused for _, why in found)
                state.requests += len(some)
                state.write(progress)
        return state


class _FittingWriter(StagingWriter):
    """Stages rows as they are; those that make no address are refused."""

    def __init__(self, publication: Publication, schema: pa.Schema, path: str) -> None:
        super().__init__(publication, schema)
        self._template = path

    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        found = unfit(self._template, batch)
        if found:
            bad = pa.array([row for row, _, _ in found], pa.int64())
            rows = pa.array(range(batch.num_rows), pa.int64())
            batch = batch.filter(pc.invert(pc.is_in(rows, value_set=bad)))
        if batch.num_rows:
            self.stage(batch, batch.select(visible(batch.schema).names).nbytes)
        if not found:
            return None
        return rejections([row for row, _, _ in found], "refused", [text for _, text, _ in found], [name for _, _, name in found])


@dataclass
class _State:
    """How far a commit has come: how many requests are done, how many records were refused for which reason, and the files of
    those.
    """

    requests: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    parts: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: str) -> _State:
        """What an earlier try of the commit has noted."""
        store = store_of(path)
        with reading(path):
            found: dict[str, Any] = json.loads(store.read_text(path)) if store.exists(path) else {}
        return cls(found.get("requests", 0), Counter(found.get("reasons", {})), found.get("parts", []))

    def write(self, path: str) -> None:
        """Note it."""
        found = {"requests": self.requests, "reasons": dict(self.reasons), "parts": self.parts}
        with writing(path):
            store_of(path).write_text(path, json.dumps(found))


def _given_back(request: Request, refused: Sequence[tuple[int, Refusal]]) -> pa.RecordBatch:
    """The refused rows of a request, with what is said of each."""
    rows = pa.Table.from_batches([batch.slice(i, 1) for batch, i in (request.rows[at] for at, _ in refused)])
    found = pa.table(
        {
            "row": pa.array(range(len(refused)), pa.int64()),
            "reason": pa.array([why.reason for _, why in refused], pa.string()),
            "message": pa.array([why.told for _, why in refused], pa.string()),
            "column": pa.nulls(len(refused), pa.string()),
            ATTEMPTS: pa.array([why.attempts for _, why in refused], pa.int64()),
        }
    )
    return returned_rows(rows, found)


def _check_path(path: str) -> None:
    """Refuse a path that is none. Raises InvalidValue."""
    fixed = PLACEHOLDER.sub("", path)
    if "{" in fixed or "}" in fixed:
        raise InvalidValue(
            "a brace of the `path` stands alone", hint="a column's name stands in braces, as `{order_id}`; `%7B` is a brace"
        )
    if any(sign <= " " or sign > "~" for sign in fixed) or "#" in fixed:
        raise InvalidValue("the `path` has a sign that no address has", hint="percent-encode it: a blank is `%20`")
    if {".", ".."} & set(path.partition("?")[0].split("/")):
        raise InvalidValue("the `path` has `.` or `..` in it", hint="write the path that it comes to")
