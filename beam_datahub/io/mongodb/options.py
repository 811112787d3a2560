"""The options of reading and writing collections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config


def _parsed(value: Any) -> Any:
    """A filter or a pipeline that is written as one text of extended JSON."""
    if not isinstance(value, str):
        return value
    import json

    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None


BsonType = Literal["objectId", "uuid", "decimal128"]


class MongodbReadOptions(Config):
    """Which documents are read."""

    collection: str | None = None
    """The collection, or a view."""

    collections: Names | None = None
    """Several collections, by names or patterns such as `shop_*`, in place of one: each is a source of its own, `NAME.orders`;
    steps and destinations behind are made for each of them. In a destination, `${table}` stands for its name, and `key: ${key}`
    for `_id`."""

    exclude: Names = ()
    """Names or patterns of collections that `collections` leaves out."""

    query: Annotated[dict[str, Any], BeforeValidator(_parsed)] = {}
    """A filter in MongoDB's own form, which the server evaluates: `{status: paid, total: {$gt: 10}}`. Values that YAML does not
    have are written as extended JSON: `{_id: {$gt: {$oid: 65f0…}}}`."""

    pipeline: Annotated[tuple[dict[str, Any], ...] | None, BeforeValidator(_parsed)] = None
    """Stages of an aggregation in place of a `query`; what comes out of the last one is read."""

    sample: int = Field(default=1_000, gt=1)
    """How many documents discovery looks at: half of them the first by `_id`, half the last."""

    batch_documents: int = Field(default=20_000, gt=0)
    """How many documents the server sends at a time, at most; it sends no more than 16 MB."""

    @model_validator(mode="after")
    def _one(self) -> MongodbReadOptions:
        if (self.collection is None) == (self.collections is None):
            raise ValueError("needs a `collection` or `collections`, and not both")
        if self.exclude and self.collections is None:
            raise ValueError("has `exclude`, which goes with `collections`")
        if self.pipeline is not None and self.query:
            raise ValueError("has a `query` and a `pipeline`: begin the pipeline with a `$match`")
        for stage in self.pipeline or ():
            if any(name in stage for name in ("$out", "$merge")):
                raise ValueError("writes in its `pipeline`, and a source only reads: leave $out and $merge out")
        return self


class MongodbWriteOptions(Config):
    """Where documents go, and how they meet what is there."""

    collection: str
    """The collection. It is made when it is not there."""

    types: dict[str, BsonType] = {}
    """Columns that become a type of BSON which SQL does not have, such as `{_id: objectId, account: uuid}`."""

    nulls: Literal["keep", "leave_out"] = "keep"
    """Whether a null is written as null, or its field left out of the document; `merge` then removes such a field."""

    finer_times: Literal["reject", "cut"] = "reject"
    """What becomes of a time with microseconds: MongoDB keeps milliseconds."""

    last_by: str | None = None
    """With `merge`: of several rows with one key in a run, the one with the highest value of this column wins."""

    delete_marker: str | None = None
    """With `merge`: a BOOLEAN column; where it is true, the document with that key is removed. It is not written itself."""
