"""What is read of a PostgreSQL server's log, and the slot that keeps it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ByteSize, Field, field_validator, model_validator

from beam_datahub.component.change_events import ChangeOptions
from beam_datahub.component.columns import Names


class PostgresqlCdcOptions(ChangeOptions):
    """Whose changes are read, and by which slot."""

    table: str | None = None
    """The table: `orders` or `sales.orders`."""

    tables: Names | None = None
    """Several tables, in place of one; `sales.*` are all of a schema. Their rows come as JSON, in the order of their changes."""

    slot: str
    """The replication slot: the server keeps its log for it until it was read. Each source of each integration needs its own."""

    publication: str | None = None
    """The publication, which says what of the log is sent; it is called as the slot is when left out."""

    create: bool = True
    """Make the slot and the publication where they are not there, and add tables that the publication lacks."""

    snapshot: Literal["initial", "never"] = "initial"
    """What comes first: all rows that the table has (`op` is `r`), or only what changes from then on."""

    lag_warning: ByteSize = Field(default=ByteSize(1024**3))
    """How much of the log may wait for the slot before a warning is given."""

    @field_validator("slot")
    @classmethod
    def _named(cls, slot: str) -> str:
        if not re.fullmatch(r"[a-z0-9_]{1,63}", slot):
            raise ValueError("has only small letters, digits and underscores, 63 at most")
        return slot

    @model_validator(mode="after")
    def _chosen(self) -> PostgresqlCdcOptions:
        if (self.table is None) == (not self.tables):
            raise ValueError("needs a `table` or `tables`, and not both")
        if self.tables and self.changes == "rows":
            raise ValueError("gives `rows` of one `table` only: several have no columns in common")
        return self

    @property
    def published_by(self) -> str:
        """The publication's name."""
        return self.publication or self.slot
