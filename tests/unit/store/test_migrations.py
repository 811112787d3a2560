"""The migrations make the tables that the code works with."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect

from beam_datahub.store import versions
from beam_datahub.store.database import engine
from beam_datahub.store.location import Location
from beam_datahub.store.store import Store, open_store
from beam_datahub.store.tables import METADATA


def test_the_migrations_lead_to_the_tables_of_the_code(store: Store) -> None:
    with store.writing.transaction() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, METADATA) == []
        there = inspect(connection)
        for table in METADATA.sorted_tables:
            checks = {each.name for each in table.constraints if isinstance(each, CheckConstraint)}
            assert {each["name"] for each in there.get_check_constraints(table.name)} == checks, table.name
            rules = {(key.elements[0].target_fullname, (key.ondelete or "").upper()) for key in table.foreign_key_constraints}
            found = {
                (f"{key['referred_table']}.{key['referred_columns'][0]}", key["options"].get("ondelete", "").upper())
                for key in there.get_foreign_keys(table.name)
            }
            assert found == rules, table.name


def test_the_newest_migration_is_the_version_that_the_code_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(versions.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [versions.HEAD]


def test_a_store_is_made_once_and_keeps_its_version(location: Location) -> None:
    with open_store(location) as first:
        assert first.prepared(upgrade=True)[1:] == (None, versions.HEAD)
    with open_store(location) as second:
        assert second.prepared(upgrade=True)[1:] == (versions.HEAD, versions.HEAD)


def test_a_migration_that_fails_leaves_nothing(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("cut off")

    monkeypatch.setattr(versions, "_remember_birth", broken)
    with pytest.raises(RuntimeError, match="cut off"), open_store(location) as store:
        _ = store.writer
    assert tables(location) == []
    monkeypatch.undo()
    with open_store(location) as store:
        assert store.prepared(upgrade=True)[1] is None


def tables(location: Location) -> list[str]:
    made = engine(location, writes=False)
    try:
        return inspect(made).get_table_names()
    finally:
        made.dispose()
