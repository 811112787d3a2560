"""The first version of the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

INTEGRATION_HEALTH = """
create view integration_health as
with newest as (
    select integration, run_id, status, started_at,
        row_number() over (partition by integration order by started_at desc, run_id desc) as place
    from runs
), succeeded as (
    select integration, max(started_at) as at
    from runs where status in ('completed', 'completed_with_errors') group by integration
), unresolved as (
    select integration, count(*) as violations from violations where status in ('open', 'acknowledged') group by integration
), names as (
    select name as integration from integrations where removed_at is null union select integration from runs
)
select names.integration,
    count(runs.run_id) as runs,
    count(*) filter (where runs.status = 'completed') as completed,
    count(*) filter (where runs.status = 'completed_with_errors') as completed_with_errors,
    count(*) filter (where runs.status = 'failed') as failed,
    count(*) filter (where runs.status = 'cancelled') as cancelled,
    count(*) filter (where runs.status = 'running') as running,
    cast(coalesce(sum(runs.read), 0) as bigint) as records_read,
    cast(coalesce(sum(runs.rejected), 0) as bigint) as records_rejected,
    avg(runs.seconds) filter (where runs.status in ('completed', 'completed_with_errors')) as mean_seconds,
    max(newest.run_id) as last_run,
    max(newest.status) as last_status,
    max(newest.started_at) as last_started_at,
    max(succeeded.at) as last_success_at,
    count(*) filter (
        where runs.status = 'failed' and (succeeded.at is null or runs.started_at > succeeded.at)
    ) as failures_since_success,
    cast(coalesce(max(unresolved.violations), 0) as bigint) as open_violations
from names
left join runs on runs.integration = names.integration
left join newest on newest.integration = names.integration and newest.place = 1
left join succeeded on succeeded.integration = names.integration
left join unresolved on unresolved.integration = names.integration
group by names.integration
"""

CONNECTOR_USE = """
create view connector_use as
select run_steps.type as connector,
    run_steps.role,
    count(distinct runs.integration) as integrations,
    count(distinct runs.run_id) as runs,
    count(distinct case when runs.status = 'failed' then runs.run_id end) as failed_runs,
    cast(coalesce(sum(case when run_steps.role = 'source' then run_steps.read else run_steps.taken end), 0) as bigint) as records,
    max(runs.started_at) as last_used_at
from run_steps
join runs on runs.run_id = run_steps.run_id
where run_steps.role in ('source', 'destination', 'dead_letter') and run_steps.type is not null
group by run_steps.type, run_steps.role
"""

QUALITY_DASHBOARD = """
create view quality_dashboard as
select integration, rule, severity,
    count(*) as violations,
    count(*) filter (where status = 'open') as open,
    count(*) filter (where status = 'acknowledged') as acknowledged,
    count(*) filter (where status = 'resolved') as resolved,
    count(*) filter (where status = 'false_positive') as false_positive,
    cast(coalesce(sum(failed), 0) as bigint) as records_failed,
    min(created_at) as first_at,
    max(created_at) as last_at,
    max(run_id) as last_run
from violations
group by integration, rule, severity
"""


def upgrade() -> None:
    """Create the tables and the views."""
    op.create_table(
        "audit",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_index("ix_audit_kind_name", "audit", ["kind", "name"], unique=False)
    op.create_table(
        "connections",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("connector", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("tested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("test_passed", sa.Boolean(), nullable=True),
        sa.Column("test_message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_connections"),
        sa.UniqueConstraint("name", name="uq_connections_name"),
    )
    op.create_table(
        "cursors",
        sa.Column("integration", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("partition", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("integration", "source", "partition", name="pk_cursors"),
    )
    op.create_table(
        "integrations",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_integrations"),
        sa.UniqueConstraint("name", name="uq_integrations_name"),
    )
    op.create_table(
        "lineage_graphs",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("integration", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lineage_graphs"),
        sa.UniqueConstraint("integration", "fingerprint", name="uq_lineage_graphs_integration_fingerprint"),
    )
    op.create_table(
        "schema_texts",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("references", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.CheckConstraint("type in ('json', 'avro', 'protobuf')", name=op.f("ck_schema_texts_type")),
        sa.PrimaryKeyConstraint("id", name="pk_schema_texts"),
        sa.UniqueConstraint("fingerprint", name="uq_schema_texts_fingerprint"),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )
    op.create_table(
        "subjects",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("compatibility", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subjects"),
        sa.UniqueConstraint("name", name="uq_subjects_name"),
    )
    op.create_table(
        "integration_versions",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("integration_id", NUMBER, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["integrations.id"], name="fk_integration_versions_integration_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_integration_versions"),
        sa.UniqueConstraint("integration_id", "version", name="uq_integration_versions_integration_id_version"),
    )
    op.create_table(
        "lineage_datasets",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("graph_id", NUMBER, nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("facets", sa.JSON(), nullable=False),
        sa.CheckConstraint("role in ('input', 'output', 'step')", name=op.f("ck_lineage_datasets_role")),
        sa.ForeignKeyConstraint(["graph_id"], ["lineage_graphs.id"], name="fk_lineage_datasets_graph_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_lineage_datasets"),
        sa.UniqueConstraint("graph_id", "namespace", "name", "step", name="uq_lineage_datasets_graph_id_namespace_name_step"),
    )
    op.create_index("ix_lineage_datasets_namespace_name", "lineage_datasets", ["namespace", "name"], unique=False)
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("integration", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("owner", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("read", NUMBER, server_default="0", nullable=False),
        sa.Column("written", NUMBER, server_default="0", nullable=False),
        sa.Column("filtered", NUMBER, server_default="0", nullable=False),
        sa.Column("rejected", NUMBER, server_default="0", nullable=False),
        sa.Column("violations", NUMBER, server_default="0", nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("reports", sa.JSON(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_by", sa.Text(), nullable=True),
        sa.Column("lineage_id", NUMBER, nullable=True),
        sa.CheckConstraint("cause in ('manual', 'schedule', 'resume', 'replay', 'test')", name=op.f("ck_runs_cause")),
        sa.CheckConstraint("kind in ('full', 'incremental', 'partial')", name=op.f("ck_runs_kind")),
        sa.CheckConstraint(
            "status in ('running', 'completed', 'completed_with_errors', 'failed', 'cancelled')", name=op.f("ck_runs_status")
        ),
        sa.ForeignKeyConstraint(["lineage_id"], ["lineage_graphs.id"], name="fk_runs_lineage_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["parent"], ["runs.run_id"], name="fk_runs_parent", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_integration_started_at", "runs", ["integration", "started_at"], unique=False)
    op.create_index("ix_runs_lineage_id", "runs", ["lineage_id"], unique=False)
    op.create_index("ix_runs_parent", "runs", ["parent"], unique=False)
    op.create_index("ix_runs_started_at", "runs", ["started_at"], unique=False)
    op.create_index("ix_runs_status", "runs", ["status"], unique=False)
    op.create_table(
        "schema_versions",
        sa.Column("subject_id", NUMBER, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("schema_id", NUMBER, nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["schema_id"], ["schema_texts.id"], name="fk_schema_versions_schema_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name="fk_schema_versions_subject_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("subject_id", "version", name="pk_schema_versions"),
    )
    op.create_index("ix_schema_versions_schema_id", "schema_versions", ["schema_id"], unique=False)
    op.create_table(
        "lineage_columns",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("from_dataset_id", NUMBER, nullable=False),
        sa.Column("from_column", sa.String(), nullable=False),
        sa.Column("to_dataset_id", NUMBER, nullable=False),
        sa.Column("to_column", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("expression", sa.Text(), nullable=True),
        sa.CheckConstraint("kind in ('direct', 'indirect')", name=op.f("ck_lineage_columns_kind")),
        sa.ForeignKeyConstraint(
            ["from_dataset_id"], ["lineage_datasets.id"], name="fk_lineage_columns_from_dataset_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["to_dataset_id"], ["lineage_datasets.id"], name="fk_lineage_columns_to_dataset_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_lineage_columns"),
    )
    op.create_index(
        "ix_lineage_columns_from_dataset_id_from_column", "lineage_columns", ["from_dataset_id", "from_column"], unique=False
    )
    op.create_index("ix_lineage_columns_to_dataset_id_to_column", "lineage_columns", ["to_dataset_id", "to_column"], unique=False)
    op.create_table(
        "logs",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("logger", sa.Text(), nullable=False),
        sa.Column("step", sa.String(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_logs_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_logs"),
    )
    op.create_index("ix_logs_run_id_id", "logs", ["run_id", "id"], unique=False)
    op.create_table(
        "metrics",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_metrics_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_metrics"),
    )
    op.create_index("ix_metrics_run_id_name", "metrics", ["run_id", "name"], unique=False)
    op.create_table(
        "profiles",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("integration", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("column", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("rows", NUMBER, nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_profiles_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_profiles"),
        sa.UniqueConstraint("run_id", "step", "column", name="uq_profiles_run_id_step_column"),
    )
    op.create_index("ix_profiles_integration_step_created_at", "profiles", ["integration", "step", "created_at"], unique=False)
    op.create_table(
        "replayed_records",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("replay_run_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_replayed_records_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "record", name="pk_replayed_records"),
    )
    op.create_index("ix_replayed_records_replay_run_id", "replayed_records", ["replay_run_id"], unique=False)
    op.create_table(
        "run_documents",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_documents_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "kind", name="pk_run_documents"),
    )
    op.create_table(
        "run_steps",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=True),
        sa.Column("type", sa.String(), nullable=True),
        sa.Column("read", NUMBER, server_default="0", nullable=False),
        sa.Column("taken", NUMBER, server_default="0", nullable=False),
        sa.Column("out", NUMBER, server_default="0", nullable=False),
        sa.Column("filtered", NUMBER, server_default="0", nullable=False),
        sa.Column("rejected", NUMBER, server_default="0", nullable=False),
        sa.Column("merged", NUMBER, server_default="0", nullable=False),
        sa.Column("added", NUMBER, server_default="0", nullable=False),
        sa.Column("bytes", NUMBER, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_steps_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_run_steps"),
    )
    op.create_index("ix_run_steps_type_role", "run_steps", ["type", "role"], unique=False)
    op.create_table(
        "transformations",
        sa.Column("version_id", NUMBER, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("connection", sa.String(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "role in ('source', 'transformation', 'destination', 'dead_letter')", name=op.f("ck_transformations_role")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["integration_versions.id"], name="fk_transformations_version_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("version_id", "position", name="pk_transformations"),
    )
    op.create_table(
        "violations",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("integration", sa.String(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("checked", NUMBER, server_default="0", nullable=False),
        sa.Column("failed", NUMBER, server_default="0", nullable=False),
        sa.Column("ratio", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("samples", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("severity in ('low', 'medium', 'high', 'critical')", name=op.f("ck_violations_severity")),
        sa.CheckConstraint("status in ('open', 'acknowledged', 'resolved', 'false_positive')", name=op.f("ck_violations_status")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_violations_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_violations"),
    )
    op.create_index("ix_violations_integration_rule", "violations", ["integration", "rule"], unique=False)
    op.create_index("ix_violations_run_id", "violations", ["run_id"], unique=False)
    op.create_index("ix_violations_status_severity", "violations", ["status", "severity"], unique=False)
    for view in (INTEGRATION_HEALTH, CONNECTOR_USE, QUALITY_DASHBOARD):
        op.execute(view)
