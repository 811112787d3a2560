"""The store's tables. A change here needs a new revision under `migrations/versions`; a test compares the two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from beam_datahub.store.types import Instant, Json, Number, Words

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[Any]:
    return Column("id", Number, primary_key=True, autoincrement=True)


def _count(name: str) -> Column[Any]:
    return Column(name, Number, nullable=False, default=0, server_default="0")


def _run() -> Column[Any]:
    return Column("run_id", String, ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} in ({listed})", name=column)


settings = Table(
    "settings",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", Json),
)

integrations = Table(
    "integrations",
    METADATA,
    _id(),
    Column("name", String, nullable=False, unique=True),
    Column("description", Words),
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("removed_at", Instant),
)

integration_versions = Table(
    "integration_versions",
    METADATA,
    _id(),
    Column("integration_id", Number, ForeignKey("integrations.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("spec", Words, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("path", Words),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Words, nullable=False),
    UniqueConstraint("integration_id", "version"),
)

transformations = Table(
    "transformations",
    METADATA,
    Column("version_id", Number, ForeignKey("integration_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("step", String, nullable=False),
    Column("role", String, nullable=False),
    Column("type", String, nullable=False),
    Column("inputs", Json, nullable=False),
    Column("connection", String),
    Column("config", Json, nullable=False),
    Column("columns", Json, nullable=False),
    _one_of("role", "source", "transformation", "destination", "dead_letter"),
)

connections = Table(
    "connections",
    METADATA,
    _id(),
    Column("name", String, nullable=False, unique=True),
    Column("connector", String, nullable=False),
    Column("options", Json, nullable=False),
    Column("sealed", Json, nullable=False),
    Column("description", Words),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("updated_by", Words, nullable=False),
    Column("tested_at", Instant),
    Column("test_passed", Boolean),
    Column("test_message", Words),
)

lineage_graphs = Table(
    "lineage_graphs",
    METADATA,
    _id(),
    Column("integration", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("integration", "fingerprint"),
)

lineage_datasets = Table(
    "lineage_datasets",
    METADATA,
    _id(),
    Column("graph_id", Number, ForeignKey("lineage_graphs.id", ondelete="CASCADE"), nullable=False),
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("step", String, nullable=False),
    Column("columns", Json, nullable=False),
    Column("facets", Json, nullable=False),
    UniqueConstraint("graph_id", "namespace", "name", "step"),
    Index(None, "namespace", "name"),
    _one_of("role", "input", "output", "step"),
)

lineage_columns = Table(
    "lineage_columns",
    METADATA,
    _id(),
    Column("from_dataset_id", Number, ForeignKey("lineage_datasets.id", ondelete="CASCADE"), nullable=False),
    Column("from_column", String, nullable=False),
    Column("to_dataset_id", Number, ForeignKey("lineage_datasets.id", ondelete="CASCADE"), nullable=False),
    Column("to_column", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("expression", Words),
    Index(None, "from_dataset_id", "from_column"),
    Index(None, "to_dataset_id", "to_column"),
    _one_of("kind", "direct", "indirect"),
)

runs = Table(
    "runs",
    METADATA,
    Column("run_id", String, primary_key=True),
    Column("integration", String, nullable=False),
    Column("version", Integer),
    Column("fingerprint", String),
    Column("kind", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("status", String, nullable=False),
    Column("engine", String, nullable=False),
    Column("parent", String, ForeignKey("runs.run_id", ondelete="SET NULL"), index=True),
    Column("user", Words),
    Column("host", Words),
    Column("pid", Integer),
    Column("owner", Json),
    Column("started_at", Instant, nullable=False),
    Column("heartbeat_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("seconds", Float),
    _count("read"),
    _count("written"),
    _count("filtered"),
    _count("rejected"),
    _count("violations"),
    Column("error", Json),
    Column("folder", Words),
    Column("reports", Json, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("cancel_requested_at", Instant),
    Column("cancel_requested_by", Words),
    Column("lineage_id", Number, ForeignKey("lineage_graphs.id", ondelete="SET NULL"), index=True),
    Index(None, "integration", "started_at"),
    Index(None, "started_at"),
    Index(None, "status"),
    _one_of("kind", "full", "incremental", "partial"),
    _one_of("cause", "manual", "schedule", "resume", "replay", "test"),
    _one_of("status", "running", "completed", "completed_with_errors", "failed", "cancelled"),
)

run_steps = Table(
    "run_steps",
    METADATA,
    Column("run_id", String, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("step", String, nullable=False),
    Column("role", String),
    Column("type", String),
    _count("read"),
    _count("taken"),
    _count("out"),
    _count("filtered"),
    _count("rejected"),
    _count("merged"),
    _count("added"),
    Column("bytes", Number),
    Index(None, "type", "role"),
)

run_documents = Table(
    "run_documents",
    METADATA,
    Column("run_id", String, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String, primary_key=True),
    Column("document", Json, nullable=False),
)

replayed_records = Table(
    "replayed_records",
    METADATA,
    Column("run_id", String, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("record", String, primary_key=True),
    Column("replay_run_id", String, nullable=False, index=True),
    Column("at", Instant, nullable=False),
)

cursors = Table(
    "cursors",
    METADATA,
    Column("integration", String, primary_key=True),
    Column("source", String, primary_key=True),
    Column("partition", String, primary_key=True),
    Column("value", Json),
    Column("type", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("run_id", String),
    Column("updated_at", Instant, nullable=False),
)

violations = Table(
    "violations",
    METADATA,
    _id(),
    _run(),
    Column("integration", String, nullable=False),
    Column("rule", Words, nullable=False),
    Column("kind", String, nullable=False),
    Column("step", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("action", String, nullable=False),
    Column("message", Words, nullable=False),
    _count("checked"),
    _count("failed"),
    Column("ratio", Float),
    Column("threshold", Float),
    Column("samples", Words),
    Column("details", Json, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant),
    Column("changed_by", Words),
    Column("note", Words),
    Index(None, "run_id"),
    Index(None, "integration", "rule"),
    Index(None, "status", "severity"),
    _one_of("severity", "low", "medium", "high", "critical"),
    _one_of("status", "open", "acknowledged", "resolved", "false_positive"),
)

subjects = Table(
    "subjects",
    METADATA,
    _id(),
    Column("name", String, nullable=False, unique=True),
    Column("compatibility", String),
    Column("created_at", Instant, nullable=False),
)

schema_texts = Table(
    "schema_texts",
    METADATA,
    _id(),
    Column("type", String, nullable=False),
    Column("text", Words, nullable=False),
    Column("references", Json, nullable=False),
    Column("fingerprint", String, nullable=False, unique=True),
    _one_of("type", "json", "avro", "protobuf"),
)

schema_versions = Table(
    "schema_versions",
    METADATA,
    Column("subject_id", Number, ForeignKey("subjects.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("schema_id", Number, ForeignKey("schema_texts.id"), nullable=False, index=True),
    Column("deleted", Boolean, nullable=False, default=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Words, nullable=False),
)

profiles = Table(
    "profiles",
    METADATA,
    _id(),
    _run(),
    Column("integration", String, nullable=False),
    Column("step", String, nullable=False),
    Column("column", String, nullable=False),
    Column("type", String, nullable=False),
    Column("rows", Number, nullable=False),
    Column("summary", Json, nullable=False),
    Column("sketch", LargeBinary),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("run_id", "step", "column"),
    Index(None, "integration", "step", "created_at"),
)

metrics = Table(
    "metrics",
    METADATA,
    _id(),
    _run(),
    Column("step", String, nullable=False),
    Column("name", String, nullable=False),
    Column("labels", Json, nullable=False),
    Column("value", Float, nullable=False),
    Column("at", Instant, nullable=False),
    Index(None, "run_id", "name"),
)

logs = Table(
    "logs",
    METADATA,
    _id(),
    _run(),
    Column("at", Instant, nullable=False),
    Column("level", String, nullable=False),
    Column("logger", Words, nullable=False),
    Column("step", String),
    Column("message", Words, nullable=False),
    Index(None, "run_id", "id"),
)

audit = Table(
    "audit",
    METADATA,
    _id(),
    Column("at", Instant, nullable=False),
    Column("who", Words, nullable=False),
    Column("action", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("name", Words, nullable=False),
    Column("details", Json, nullable=False),
    Index(None, "kind", "name"),
    Index(None, "at"),
)

events = Table(
    "events",
    METADATA,
    _id(),
    Column("event_id", String, nullable=False, unique=True),
    Column("type", String, nullable=False),
    Column("document", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Index(None, "sent_at"),
)
