"""What is read of a MySQL server's binary log."""

from __future__ import annotations

from typing import Literal

from pydantic import ByteSize, Field, model_validator

from beam_datahub.component.change_events import ChangeOptions
from beam_datahub.component.columns import Names


class MysqlCdcOptions(ChangeOptions):
    """Whose changes are read."""

    table: str | None = None
    """The table: `orders` or `shop.orders`."""

    tables: Names | None = None
    """Several tables, in place of one; `shop.*` are all of a database. Their rows come as JSON, in the order of their changes."""

    snapshot: Literal["initial", "never"] = "initial"
    """What comes first: all rows that the table has (`op` is `r`), or only what changes from then on."""

    server_id: int | None = Field(default=None, gt=0, lt=2**32)
    """The number that this reader has among the server's replicas; any that is free when left out."""

    lag_warning: ByteSize = Field(default=ByteSize(1024**3))
    """How much of the log may wait to be read before a warning is given."""

    @model_validator(mode="after")
    def _chosen(self) -> MysqlCdcOptions:
        if (self.table is None) == (not self.tables):
            raise ValueError("needs a `table` or `tables`, and not both")
        if self.tables and self.changes == "rows":
            raise ValueError("gives `rows` of one `table` only: several have no columns in common")
        return self
