"""What MySQL and MariaDB keep whole only in types of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.database import TableName
from beam_datahub.io.sql.connection import SqlDialect
from beam_datahub.kernels.types import TIMESTAMP

if TYPE_CHECKING:
    import sqlalchemy as sa


class MysqlDialect(SqlDialect):
    """MySQL and MariaDB, where they are reached by SQLAlchemy."""

    def kind(self, data_type: pa.DataType) -> sa.types.TypeEngine[Any] | None:
        from sqlalchemy.dialects import mysql

        found: dict[pa.DataType, sa.types.TypeEngine[Any]] = {
            pa.string(): mysql.LONGTEXT(),
            pa.binary(): mysql.LONGBLOB(),
            # Without its digits a moment is rounded to seconds.
            TIMESTAMP: mysql.DATETIME(fsp=6),
            pa.time64("us"): mysql.TIME(fsp=6),
        }
        return found.get(data_type) or super().kind(data_type)

    def canonical(self, kind: sa.types.TypeEngine[Any]) -> pa.DataType:
        from sqlalchemy.dialects import mysql

        is_truth = isinstance(kind, mysql.TINYINT) and kind.display_width == 1
        return pa.bool_() if is_truth else super().canonical(kind)

    def key_kind(self) -> sa.types.TypeEngine[Any]:
        from sqlalchemy.dialects import mysql

        # Most collations take `a` for `A`.
        return mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")

    def as_text(self, value: str) -> str:
        # Whatever the collation, texts are not the same that differ in case or in accents.
        return f"CAST({value} AS BINARY)"

    def delete_matching(self, target: TableName, key: Sequence[str], source: TableName, condition: str | None = None) -> str:
        return self.delete_joined(target, key, source, condition)
