"""What is read of a MongoDB server's change streams."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from beam_datahub.component.change_events import ChangeOptions
from beam_datahub.component.columns import Names


class MongodbCdcOptions(ChangeOptions):
    """Whose changes are read."""

    collection: str | None = None
    """The collection."""

    collections: Names | None = None
    """Several collections, by names or patterns such as `shop_*`, in place of one. Their documents come as JSON, in the order of
    their changes."""

    exclude: Names = ()
    """Names or patterns of collections that `collections` leaves out."""

    key: Names | None = None
    """Stays left out: documents are told apart by `_id`, which never changes."""

    snapshot: Literal["initial", "never"] = "initial"
    """What comes first: all documents that the collection has (`op` is `r`), or only what changes from then on."""

    images: Literal["lookup", "stored"] = "lookup"
    """Where the documents of changes come from. `lookup`: a changed document comes as the server has it when the change is read,
    which may be after further changes, and of a removed one its key alone. `stored`: each comes as it was before and after, which
    the server keeps for collections with `changeStreamPreAndPostImages` (MongoDB 6.0)."""

    @model_validator(mode="after")
    def _chosen(self) -> MongodbCdcOptions:
        if (self.collection is None) == (not self.collections):
            raise ValueError("needs a `collection` or `collections`, and not both")
        if self.exclude and not self.collections:
            raise ValueError("has `exclude`, which goes with `collections`")
        if self.collections and self.changes == "rows":
            raise ValueError("gives `rows` of one `collection` only: several have no columns in common")
        if self.key is not None:
            raise ValueError("has a `key`: documents are told apart by `_id`, which never changes")
        return self
