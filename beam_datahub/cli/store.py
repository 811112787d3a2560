"""`store`: makes, upgrades, backs up, checks and prunes the store of runs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.moments import Moment
from beam_datahub.cli.options import json_option, store_option

if TYPE_CHECKING:
    from beam_datahub.store.location import Location

_AGE = re.compile(r"\s*(\d+)\s*(h|d|w|m|y)[a-z]*\s*", re.IGNORECASE)
_DAYS = {"d": 1, "w": 7, "m": 30, "y": 365}


class Age(click.ParamType[datetime]):
    """An age such as `90d`, `12 weeks` or `6h`, or a date: the moment so long ago."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, in UTC. Fails for what is neither."""
        if isinstance(value, datetime):
            return value
        match = _AGE.fullmatch(str(value))
        if match is not None:
            count, unit = int(match[1]), match[2].lower()
            return datetime.now(UTC) - (timedelta(hours=count) if unit == "h" else timedelta(days=count * _DAYS[unit]))
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"'{value}' is not an age such as 90d, 12w or 6h, or a date such as 2025-01-31", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group(short_help="Look after the store of runs.")
def command() -> None:
    """Look after the store: a file or a PostgreSQL database that keeps runs, violations, schemas, lineage and connections.

    The first run makes it at .beam-datahub/store.db of the project. --store or BEAM_DATAHUB_STORE name another one.
    """


@command.command(short_help="Make a store.")
@store_option
def init(store: str | None) -> None:
    """Make the store where there is none; one that is there stays as it is."""
    from beam_datahub.runtime.upkeep import make

    location = _located(store)
    made, version = make(location)
    click.echo(f"{'made' if made else 'there is'} a store of version {version} at {location}{'' if made else ' already'}")


@command.command(short_help="Bring a store of an older version up to date.")
@store_option
@click.option("--backup", "target", type=click.Path(path_type=Path), help="Keep a copy of it as it was in this file.")
def upgrade(store: str | None, target: Path | None) -> None:
    """Bring the store of an older beam-datahub up to date: all of it or, where something fails, nothing.

    A file is upgraded by the first run as well; a database that is shared waits for this command.
    """
    from beam_datahub.runtime.upkeep import upgraded

    location = _existing(store)
    before, after = upgraded(location, target)
    said = f"is of the newest version {after}" if before == after else f"upgraded from version {before} to {after}"
    click.echo(f"{location}: {said}")


@command.command(short_help="Copy the store into a file.")
@click.argument("target", type=click.Path(path_type=Path))
@store_option
@click.option("--replace", is_flag=True, help="Write over TARGET where it is there.")
def backup(target: Path, store: str | None, replace: bool) -> None:
    """Copy the store into the file TARGET, as it is at one moment, while runs go on.

    TARGET is a store itself: put it in the place of the other one, or name it with --store. The key that seals secrets is
    not in it; keep that apart.
    """
    from beam_datahub.cli.tables import size
    from beam_datahub.runtime.upkeep import opened, upkeep

    with opened(_existing(store)) as found:
        written = upkeep().backup(found, target, replace=replace)
    click.echo(f"wrote {target} ({size(written)})")


@command.command(short_help="Let go of old runs.")
@store_option
@click.option("--older-than", "before", type=Age(), default="90d", show_default=True, help="How old: 90d, 12w, 6h, or a date.")
@click.option("--keep", type=click.IntRange(min=0), default=10, show_default=True, help="Keep so many runs of each integration.")
@click.option("--dry-run", is_flag=True, help="Only say which runs would go.")
@json_option
def prune(store: str | None, before: datetime, keep: int, dry_run: bool, as_json: bool) -> None:
    """Let go of runs that ended long ago, with their violations, profiles, logs and folders.

    Kept are the newest runs and the last success of each integration, runs that go on, runs with violations that nobody has
    resolved, runs that cursors rest on, and those that a kept run resumed or replayed.
    """
    from beam_datahub.cli.tables import size
    from beam_datahub.runtime.upkeep import opened, upkeep

    with opened(_existing(store)) as found:
        done = upkeep().prune(found, before, keep=keep, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"runs": done.runs, "kept": done.kept, "folders": done.folders, "bytes": done.bytes}))
        return
    verb = "would let go of" if dry_run else "let go of"
    freed = f", {size(done.bytes)} freed" if done.bytes and done.bytes > 0 else ""
    click.echo(f"{verb} {_runs(len(done.runs))} that ended before {before:%Y-%m-%d %H:%M} UTC, kept {done.kept}{freed}")
    for run_id in done.runs if dry_run else ():
        click.echo(f"  {run_id}")


@command.command(short_help="Say what is in the store.")
@store_option
@json_option
def info(store: str | None, as_json: bool) -> None:
    """Say where the store is, of which version, and how much is in it."""
    from beam_datahub.runtime.upkeep import opened, upkeep

    location = _existing(store)
    with opened(location) as found:
        facts = upkeep().info(found)
    if as_json:
        record = {"store": str(location), "version": facts.version, "bytes": facts.bytes, "rows": facts.rows}
        moments = {"first_run_at": facts.first_run_at, "last_run_at": facts.last_run_at}
        click.echo(json.dumps({**record, **{name: at.isoformat() if at else None for name, at in moments.items()}}))
        return
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple, size

    click.echo(f"{location}: version {facts.version}{f', {size(facts.bytes)}' if facts.bytes is not None else ''}")
    if facts.first_run_at and facts.last_run_at:
        click.echo(f"runs from {facts.first_run_at:%Y-%m-%d %H:%M} to {facts.last_run_at:%Y-%m-%d %H:%M} UTC")
    rows = [[name.replace("_", " "), f"{count:,}"] for name, count in facts.rows.items() if count]
    click.echo()
    out().print(simple(None, [("what", "left"), ("rows", "right")], rows))


@command.command(short_help="Who changed what, and when.")
@store_option
@click.option("--kind", help="Only changes of such things: run, integration, connection, violation, subject, cursor, store.")
@click.option("--name", help="Only changes of the thing with this name or id.")
@click.option("--since", type=Moment(), help="Only those since then: 2025-03-01, 12h, 7d.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@json_option
def audit(store: str | None, kind: str | None, name: str | None, since: datetime | None, limit: int, as_json: bool) -> None:
    """Show who changed what in the store, the newest first. Secrets are in none of it."""
    from beam_datahub.runtime.upkeep import opened

    with opened(_existing(store)) as found:
        entries = found.reader.journal.audit(kind=kind, name=name, since=since, limit=limit)
    if as_json:
        click.echo(json.dumps([each.__dict__ for each in entries], default=str, ensure_ascii=False))
        return
    if not entries:
        click.echo("nothing of that kind was changed")
        return
    from beam_datahub.cli.moments import day_and_time
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple

    rows = [[day_and_time(each.at), each.who, each.action.replace("_", " "), f"{each.kind} {each.name}"] for each in entries]
    out().print(simple(None, [("when", "left"), ("who", "left"), ("what", "left"), ("of", "left")], rows))


@command.command(short_help="Look for damage.")
@store_option
@json_option
def check(store: str | None, as_json: bool) -> None:
    """Look whether the store is sound and whether the secrets of its connections open with the keys at hand."""
    from beam_datahub.runtime.connections import unreadable
    from beam_datahub.runtime.upkeep import opened, upkeep

    location = _existing(store)
    with opened(location) as found:
        problems = upkeep().check(found)
        problems += [f"the connection '{name}': {reason}" for name, reason in unreadable(found)] if not problems else []
    if as_json:
        click.echo(json.dumps({"store": str(location), "problems": problems}))
    else:
        for problem in problems:
            click.secho(problem, fg="red")
        if not problems:
            click.echo(f"{location}: nothing is wrong")
    if problems:
        click.get_current_context().exit(4)


def _located(store: str | None) -> Location:
    from beam_datahub.store.location import locate

    return locate(store)


def _existing(store: str | None) -> Location:
    from beam_datahub.errors import StoreUnusable

    location = _located(store)
    if not location.exists():
        hint = "`beam-datahub store init` makes one, as does the first run"
        raise StoreUnusable(f"there is no store at {location}", hint=hint)
    return location


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
