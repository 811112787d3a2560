"""The commits of a stream: which tickets are through, what one epoch publishes, and how far the sources were read with it.

An epoch publishes whole tickets that follow one another without a gap, partition by partition, from where the epoch before ended.
What is published and how far the sources were read are decided as one and stand in one journal: a stream that is killed goes on
from there, with nothing lost and nothing doubled, whatever the engine did with the rest.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from beam_datahub.compiler.accounts import Account, Terms, Ticket
from beam_datahub.compiler.asking import lookup_figures
from beam_datahub.compiler.commit import _write_durably
from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.plan import Write, is_aside
from beam_datahub.compiler.returns import Published, Reasons, Returns, enter, gives_back, publish_all
from beam_datahub.compiler.settled import CLOCK, SEAM, SHARD, VOID, Settling, clock_text, plain_parts, plain_positions, seam_of
from beam_datahub.compiler.tickets import AGAIN, TICKETED, Stretch, is_again, opened
from beam_datahub.compiler.verdict import judge
from beam_datahub.component.failure import placed
from beam_datahub.component.sink import Committed, Receipt

# Of the places where rows are, a stream's result names the newest.
_LOCATIONS = 10
# How the journal of an epoch begins.
_MARK = b"epoch\n"

Positions = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Epoch:
    """What one commit publishes: `chosen` with the receipts of each destination, how far the sources are `read` with it, and up
    to where the stream is settled, so that another attempt can begin there.

    `verdict` has a `status`: unless it is `completed`, `chosen` are only the dead letter and the violations, and no position
    moves. `returns` says where records go that destinations give back while they publish; None: none of them does.
    """

    number: int
    tickets: frozenset[str]
    account: Account
    read: Positions
    moved: Positions
    verdict: Mapping[str, Any]
    chosen: tuple[tuple[Write, tuple[Receipt, ...]], ...]
    returns: Returns | None = None

    def with_returned(self, reasons: Reasons) -> Epoch:
        """This epoch with what came back while it was published in its books."""
        if not reasons:
            return self
        letter = self.returns.letter if self.returns is not None else None
        return replace(self, account=self.account.with_returned(reasons, letter.request.step if letter is not None else None))


__all__ = ["Account", "Epoch", "Epochs", "Terms", "finish_epoch", "is_of_stream", "publish_epoch", "write_journal"]


class Epochs:
    """Gathers reports, and gives the epochs that they make."""

    def __init__(self, terms: Terms, positions: Positions, identity: Identity | None = None) -> None:
        self._terms, self._identity = terms, identity
        self._begin(positions)
        self.total = Account()
        self.written: dict[str, dict[str, Any]] = {}
        self.number = 0
        self._clock: str | None = None
        self.divides = True
        """Whether an epoch could be made when one was last asked for; False where too much was under way."""
        self.news = 0
        """Counts what was reported, but for where partitions and windows stand."""
        self.turns = 0
        """Counts the turns of windows."""
        self.state: dict[tuple[str, str], dict[str, Any]] = {}
        """By source and partition: `position`, `behind`, `watermark`, the one `due` by what was read, whether it `owes`."""

    def _begin(self, positions: Positions) -> None:
        self.positions = plain_positions(positions)
        self._tickets: dict[str, Ticket] = {}
        self._beside, self._void = Account(), Account()
        # What is settled, and what had been read beyond it.
        seam = seam_of(positions)
        self._stored, self._seam = plain_positions(positions), {source: dict(parts) for source, parts in seam.read.items()}
        self._settling = Settling(seam)

    def take(self, reports: Sequence[tuple[str, str]]) -> None:
        """Take what one bundle reported."""
        for kind, body in reports:
            if kind == TICKETED:
                ticket, found = opened(body)
                if ticket == AGAIN:
                    self.news += 1
                    for inner, text in found:
                        self._enter_void(inner, text)
                    continue
                each = self._tickets.setdefault(ticket, Ticket()) if ticket is not None else None
                for inner, text in found:
                    self._enter(inner, text, each)
            else:
                self._enter(kind, body, None)

    def _enter_void(self, kind: str, body: str) -> None:
        """Results that were published before: nothing of them counts, but what comes of them has to be through."""
        if kind == SHARD:
            self._settling.take(json.loads(body))
        else:
            self._void.take("books" if kind == VOID else kind, body)

    def _enter(self, kind: str, body: str, ticket: Ticket | None) -> None:
        self.news += kind not in ("following", SHARD)
        if kind == SHARD:
            facts = json.loads(body)
            self.turns += 1
            self._settling.take(facts)
            if ticket is not None and facts["latest"] is not None:
                ticket.latest = max(ticket.latest or facts["latest"], facts["latest"])
        elif kind == VOID:
            self._enter_void(kind, body)
        elif kind == "following":
            facts = json.loads(body)
            self.state[facts["source"], facts["partition"]] = facts
        elif ticket is not None:
            ticket.take(kind, body)
        else:
            # What no ticket covers: tables that are looked up, results of windows.
            self._beside.take(kind, body)

    @property
    def waiting(self) -> int:
        """Records that were read and are not published."""
        return sum(terms["read"] for each in self._tickets.values() for terms in each.account.totals.values())

    def caught_up(self, *, told: bool = False) -> bool:
        """Whether all that there is has been read and published, as far as the partitions told; and whether, of queues, these
        have been `told` of it: some give more only then.
        """
        known = {(source, name): at for source, parts in self.positions.items() for name, at in parts.items()}
        if told and any(each.get("owes") for each in self.state.values()):
            return False
        return not self._tickets and bool(known) and all(self._stands_at(key, at) for key, at in known.items())

    def windows_are_given(self) -> bool:
        """Whether all that comes of windows has come that are complete by what was read last of their sources."""
        for step, sources in self._terms.windows.items():
            due = [facts["due"] for (source, _), facts in self.state.items() if source in sources]
            if due and None not in due and not self._settling.has_looked_at(step, min(due)):
                return False
        return self._is_whole() and self._settling.has_heard_of_all(self._terms.windows)

    def _stands_at(self, key: tuple[str, str], position: Any) -> bool:
        told = self.state.get(key)
        return told is not None and not told["behind"] and bool(told["position"] == position)

    def stuck(self) -> str | None:
        """A partition of which tickets are through that do not follow what is published; None: there is none.

        That happens when an engine repeats a bundle that had told of itself already. The cure is to read on from what is
        published.
        """
        by_start: dict[tuple[str, str], list[Ticket]] = {}
        for each in self._tickets.values():
            if each.stretch is not None:
                by_start.setdefault((each.stretch.source, each.stretch.partition), []).append(each)
        for (source, partition), found in by_start.items():
            here = self.positions.get(source, {}).get(partition)
            if all(each.stretch is not None and each.stretch.start != here for each in found):
                return f"{source}/{partition}"
        return None

    def faults(self) -> list[str]:
        """What does not add up of the tickets that are not through, once nothing is under way any more."""
        found = []
        for each in self._tickets.values():
            if each.stretch is not None:
                place = f"{each.stretch.source}/{each.stretch.partition} behind {each.stretch.start}"
                found += [f"{place}: {fault}" for fault in each.account.books(self._terms).faults]
        return found

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way: all that was read is staged or waits for its windows, and so are all their results."""
        return not self._tickets and self._is_whole() and not self._beside.receipts

    @property
    def is_under_way(self) -> bool:
        """Whether anything was read, or given by windows, that is not published yet."""
        return bool(self._tickets) or not self._is_whole()

    def _is_whole(self) -> bool:
        return not (self._beside.books(self._terms).faults or self._void.books(self._terms).faults)

    def _is_cut(self, chain: Collection[str]) -> bool:
        """Whether all that was read is through, and so are all results that windows gave: only there another attempt can tell
        what was published before.
        """
        starts = {_start(ticket.stretch) for name in chain if (ticket := self._tickets[name]).stretch is not None}
        others = (ticket for name, ticket in self._tickets.items() if name not in chain)
        under_way = any(each.stretch is None or _start(each.stretch) not in starts for each in others)
        return not under_way and self._is_whole() and self._settling.has_heard_of_all(self._terms.windows)

    def begin_anew(self, positions: Positions) -> None:
        """Forget what is not published: another attempt reads it again, from these positions on."""
        self._begin(positions)
        self.state.clear()

    def next(self) -> Epoch | None:
        """The next epoch; None where nothing is through. `done` has to follow, once it is published."""
        chain = list(self._chain())
        self.divides = not self._terms.seams or self._is_cut({name for name, _ in chain})
        if not self.divides:
            return None
        account = Account()
        read: Positions = {}
        seam = {source: dict(parts) for source, parts in self._seam.items()}
        for name, stretch in chain:
            ticket = self._tickets[name]
            if not is_again(name):
                account.add(ticket.account)
                seam.setdefault(stretch.source, {})[stretch.partition] = stretch.end
            read.setdefault(stretch.source, {})[stretch.partition] = stretch.end
            self._settling.wait(stretch.source, stretch.partition, stretch.end, ticket.latest)
            ticket.latest = None
        is_whole = not self._beside.books(self._terms).faults
        if is_whole:
            account.add(self._beside)
            self._beside = Account()
        # Positions move past rows of windows only where all results that windows gave so far are staged.
        moved = self._settled() if is_whole or self._settling.clock is None else {}
        if not (chain or account.receipts or moved):
            self._beside.add(account)
            return None
        if self._terms.seams:
            self._void = Account()
            self._add_seam(moved, seam)
        after = Account()
        after.add(self.total, receipts=False)
        after.add(account, receipts=False)
        verdict = self._terms.verdict(account, after)
        chosen: list[tuple[Write, tuple[Receipt, ...]]] = []
        for target in self._terms.targets:
            step = target.request.step
            staged = tuple(receipt for name, receipt in account.receipts if name == step)
            if staged and (is_aside(target) or verdict["status"] == "completed"):
                chosen.append((self._of_epoch(target), staged))
        if verdict["status"] != "completed":
            read, moved = {}, {}
        tickets, returns = frozenset(name for name, _ in chain), None
        if any(gives_back(target) for target, _ in chosen):
            chosen, returns = self._with_returns(chosen)
        return Epoch(self.number + 1, tickets, account, read, moved, verdict, tuple(chosen), returns)

    def _of_epoch(self, target: Write) -> Write:
        return replace(target, request=replace(target.request, epoch=self.number + 1))

    def _with_returns(self, chosen: list[Any]) -> tuple[list[Any], Returns]:
        """What is published without the dead letter, which waits for what the others give back."""
        assert self._identity is not None
        letter = next((target for target in self._terms.targets if target.dead_letter), None)
        staged = next((receipts for target, receipts in chosen if target.dead_letter), ())
        others = [(target, receipts) for target, receipts in chosen if not target.dead_letter]
        return others, Returns(self._identity, self._of_epoch(letter) if letter is not None else None, staged)

    def _settled(self) -> Positions:
        found = self._settling.settled()
        clock = self._settling.clock
        text = clock_text(clock) if clock is not None else None
        if text is not None and self.positions:
            first = next(iter(self.positions))
            if text != self._clock:
                self._clock = text
                found.setdefault(first, {})[CLOCK] = text
        return found

    def _add_seam(self, moved: Positions, seam: Positions) -> None:
        clocks = self._settling.clocks()
        for source, parts in self.positions.items():
            starts = {**self._stored.get(source, {}), **moved.get(source, {})}
            ends = seam.get(source, {})
            read = {name: [starts.get(name, at), ends.get(name, starts.get(name, at))] for name, at in parts.items()}
            moved.setdefault(source, {})[SEAM] = {"clocks": clocks, "read": read}

    def _chain(self) -> Iterator[tuple[str, Stretch]]:
        """Tickets that are through, each where the one before it ended."""
        starts: dict[tuple[str, str, str], list[str]] = {}
        for name, ticket in self._tickets.items():
            if ticket.stretch is not None:
                starts.setdefault(_start(ticket.stretch), []).append(name)
        for source, parts in self.positions.items():
            for partition, position in parts.items():
                at = position
                while True:
                    names = starts.pop((source, partition, json.dumps(at, sort_keys=True)), [])
                    through = next((name for name in names if self._tickets[name].is_through(self._terms)), None)
                    if through is None:
                        break
                    stretch = self._tickets[through].stretch
                    assert stretch is not None
                    yield through, stretch
                    at = stretch.end

    def done(self, epoch: Epoch, published: Mapping[str, Committed]) -> None:
        """Note that an epoch is published."""
        self.number = epoch.number
        self.total.add(epoch.account, receipts=False)
        _enter(self.written, published)
        starts = {_start(ticket.stretch) for name in epoch.tickets if (ticket := self._tickets.pop(name)).stretch is not None}
        # Others that begin where one of these did hold the same records: an engine has tried a bundle twice.
        again = [name for name, ticket in self._tickets.items() if ticket.stretch and _start(ticket.stretch) in starts]
        for name in again:
            del self._tickets[name]
        for source, parts in epoch.read.items():
            self.positions[source].update(parts)
        for source, parts in epoch.moved.items():
            self._stored.setdefault(source, {}).update(plain_parts(parts))
            if SEAM in parts:
                self._seam[source] = {name: end for name, (_, end) in parts[SEAM]["read"].items()}

    def report(self, epoch: Epoch | None = None) -> dict[str, Any]:
        """What the stream has done so far, and with an epoch that is not noted yet, as the report of a run has it."""
        whole = Account()
        whole.add(self._beside, receipts=False)
        whole.add(self.total, receipts=False)
        verdict: Mapping[str, Any] = {"status": "completed", "faults": []}
        if epoch is not None:
            whole.add(epoch.account, receipts=False)
            verdict = epoch.verdict
        books = whole.books(self._terms)
        if verdict["status"] == "completed" and books.faults:
            verdict = {"status": "unbalanced", "faults": books.faults}
        plain = [target.request.step for target in self._terms.targets if not is_aside(target)]
        return {
            **verdict,
            "books": books.by_step(self._terms.ledger),
            "read": books.read,
            "rejected": books.rejected,
            "reasons": books.reasons(),
            "quality": judge(self._terms.rules, whole.tallies, self._terms.started_at),
            "profiles": {},
            "lookups": lookup_figures(whole.lookups),
            "drifted": [{"source": source, "column": column} for source, column in sorted(whole.drifted)],
            "cursors": {},
            "written": {**{step: _nothing() for step in plain}, **self.written},
        }


def _nothing() -> dict[str, Any]:
    return {"rows": 0, "bytes": 0, "locations": []}


def _enter(written: dict[str, dict[str, Any]], published: Mapping[str, Committed]) -> None:
    for step, each in published.items():
        line = written.setdefault(step, _nothing())
        line["rows"] += each.rows
        line["bytes"] += each.bytes
        line["locations"] = list(dict.fromkeys([*line["locations"], *each.locations]))[-_LOCATIONS:]


def _start(stretch: Stretch) -> tuple[str, str, str]:
    return (stretch.source, stretch.partition, json.dumps(stretch.start, sort_keys=True))


def write_journal(path: str, epoch: Epoch, report: Mapping[str, Any]) -> None:
    """Say on this machine's disk what an epoch is about to publish: from here on it is decided."""
    _write_durably(path, _MARK + pickle.dumps((epoch.chosen, dict(report), epoch.returns)))


def publish_epoch(chosen: Sequence[tuple[Write, tuple[Receipt, ...]]]) -> dict[str, Committed]:
    """Publish the destinations of an epoch; what was published before stays as it is. Raises ConnectorError."""
    found = {}
    for target, receipts in chosen:
        with placed(target.place):
            found[target.request.step] = target.sink.commit(target.request, list(receipts))
    return found


def finish_epoch(path: str) -> dict[str, Any]:
    """Publish the epoch that a stream had decided on when it died; gives the report of the stream up to there."""
    with open(path, "rb") as file:
        file.seek(len(_MARK))
        chosen, report, *more = pickle.load(file)
    returns: Returns | None = more[0] if more else None
    published = publish_all(chosen, returns) if returns is not None else Published(publish_epoch(chosen))
    _enter(report["written"], published.done)
    enter(report, published.reasons, returns.letter.request.step if returns is not None and returns.letter is not None else None)
    published.forget()
    return dict(report)


def is_of_stream(path: str) -> bool:
    """Whether a journal is that of an epoch, not of a run that ends."""
    with open(path, "rb") as file:
        return file.read(len(_MARK)) == _MARK
