"""Publishing files: what a run staged becomes visible at once, once, and whatever dies on the way leaves the old state.

Beside the target (inside it, where the place beside it cannot be written) lies a hidden folder:

    .beam-datahub/staging/<run>/owner.json        which process the run is, so that dead runs can be told from living ones
    .beam-datahub/staging/<run>/<step>/…          staged files; nothing reads them
    .beam-datahub/staging/<run>/<step>.json       the journal: what the commit is about to put in place
    .beam-datahub/commits/<target>/<step>.<run>   the marker: this commit is done, and what it published; a stream has one for
                                                  each of its epochs, as it has journals

- A local folder is overwritten by exchanging it for a complete new one, a single file by renaming over it.
- Appending to a folder renames files into it, one by one, under names that carry the run. Appending to a file renames a merged
  one over it. The marker makes both count: what a run that died before it had put there, the next one takes back.
- An object store has no such rename: `overwrite` writes the new names, then removes the old ones, as the journal says.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.file_owner import is_dead, owner
from beam_datahub.component.file_store import join, local_path, store_of, writing
from beam_datahub.component.sink import Committed, Receipt, Returned, WriteRequest
from beam_datahub.errors import TargetUnusable

HIDDEN_FOLDER = ".beam-datahub"
_KEPT_MARKERS = 20
# Files that other writers leave beside data and that may go with it.
_SIDE_FILES = ("_SUCCESS", "_metadata", "_common_metadata", HIDDEN_FOLDER, ".DS_Store")


@dataclass(frozen=True)
class Target:
    """Where a destination's files go: one file, or a folder of part files with `extension`."""

    path: str
    single: bool
    extension: str
    compression: str = "none"


class Publication:
    """One run's write to one target, from the first staged byte to the marker."""

    def __init__(self, target: Target, request: WriteRequest) -> None:
        self.target, self.mode = target, request.mode
        self._store = store_of(target.path)
        self._local = local_path(target.path) is not None
        self._run, self._step = quote(request.run_id, safe=""), quote(request.step, safe="")
        self._home = self._find_home()
        self._run_folder = join(self._home, "staging", self._run)
        self._folder = join(self._run_folder, self._step)
        self._epoch = request.epoch
        self._journal = self._folder + (".json" if request.epoch is None else f".{request.epoch}.json")
        self._markers = join(self._home, "commits", quote(posixpath.basename(target.path), safe=""))
        self._marker = join(self._markers, f"{self._step}.{quote(request.commit_name, safe='')}.json")

    def _find_home(self) -> str:
        path = self.target.path
        parent = posixpath.dirname(path) or "."
        folder = self._local and not self.target.single and os.path.isdir(path)
        stuck = folder and (os.path.ismount(path) or not os.access(parent, os.W_OK))
        return join(path if stuck else parent, HIDDEN_FOLDER)

    @property
    def _inside(self) -> bool:
        return self._home == join(self.target.path, HIDDEN_FOLDER)

    def staged(self, name: str) -> str:
        """The staging path of a file that shall be called `name` below the target."""
        return join(self._folder, name)

    def part_name(self, bundle: str, number: int) -> str:
        """The name of a part file; it carries the run, so that no other run's file has it."""
        return f"part-{self._step}-{self._run}-{bundle}-{number:05d}{self.target.extension}"

    def prepare(self, probe: bool = False) -> None:
        """Sweep what dead runs left, prove that the target can be written, say whose staging this is."""
        with self.alone(), writing(self.target.path):
            self._refuse_unfit()
            self._sweep()
            if self.done() is None:
                self.remove()
            self._store.write_text(join(self._run_folder, "owner.json"), json.dumps(owner()))
            if probe:
                self.remove()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs on this machine from preparing, publishing or removing beside the same target meanwhile."""
        if not self._local:
            yield
            return
        with writing(self.target.path):
            folder = posixpath.dirname(self._home)
            os.makedirs(folder, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        try:
            # A lock on the folder itself leaves no file behind; the kernel drops it when the process dies.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _refuse_unfit(self) -> None:
        path = self.target.path
        if not self._local or not os.path.lexists(path):
            return
        if self.target.single and os.path.isdir(path):
            raise TargetUnusable(f"'{path}' cannot be written: it is a folder")
        if not self.target.single and not os.path.isdir(path):
            raise TargetUnusable(f"'{path}' cannot be written: it is a file, and not named as one of this format")
        if not os.access(path, os.W_OK):
            raise TargetUnusable(f"'{path}' cannot be written: it is read-only")
        if not self.target.single and self.mode == WriteMode.OVERWRITE:
            self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        """Overwriting a folder removes all that it holds: refuse when that is more than this format's files."""
        formats = self.target.extension
        for name, _ in self._store.under(self.target.path):
            relative = name[len(self.target.path) :].lstrip("/")
            if relative.split("/")[0] in _SIDE_FILES or relative.endswith(".crc"):
                continue
            if "." + formats.split(".")[1] not in posixpath.basename(relative) or posixpath.basename(relative).startswith("."):
                raise TargetUnusable(
                    f"'{self.target.path}' cannot be overwritten: it holds '{relative}', which is not a {formats} file",
                    hint="overwrite replaces a folder as a whole; give the destination a folder of its own",
                )

    def done(self) -> Committed | None:
        """What this commit published, if it has been done before."""
        if not self._store.exists(self._marker):
            return None
        found = json.loads(self._store.read_text(self._marker))
        returned = Returned(**found["returned"]) if found.get("returned") else None
        return Committed(found["rows"], found["bytes"], tuple(found["locations"]), returned)

    def adopt(self) -> None:
        """Say that what is staged belongs to this process, which may be another one than has staged it."""
        with self.alone(), writing(self.target.path):
            self._store.write_text(join(self._run_folder, "owner.json"), json.dumps(owner()))

    @property
    def returned(self) -> str:
        """Where a commit leaves the rows that it gives back."""
        return self._marker.removesuffix(".json") + ".returned.arrow"

    def publish_folder(self, receipts: Sequence[Receipt], rows: int) -> Committed:
        """Put the staged files into the target folder (append), or in place of it (overwrite)."""
        names = [str(receipt.detail) for receipt in receipts]
        if self.mode == WriteMode.OVERWRITE and self._local and not self._inside:
            self._exchange(receipts)
        else:
            if self.mode == WriteMode.APPEND:
                self._write_journal({"added": [join(self.target.path, name) for name in names]})
            for receipt, name in zip(receipts, names, strict=True):
                self._put(receipt.location, join(self.target.path, name))
            if self.mode == WriteMode.OVERWRITE:
                kept = {join(self.target.path, name) for name in names}
                for path, _ in self._store.under(self.target.path):
                    if path not in kept and HIDDEN_FOLDER not in path.split("/"):
                        self._store.delete(path)
        locations = tuple(join(self.target.path, name) for name in names) or (self.target.path,)
        return self.finish(Committed(rows, sum(receipt.bytes for receipt in receipts), locations))

    def _put(self, staged: str, final: str) -> None:
        if self._store.exists(staged):
            self._store.move(staged, final)
        elif not self._store.exists(final):
            raise TargetUnusable(f"'{staged}' is gone before it was published", hint="run again; did someone clear the folder?")

    def _exchange(self, receipts: Sequence[Receipt]) -> None:
        target, new, old = self.target.path, self._folder + ".new", self._folder + ".old"
        journal = self._read_journal()
        if journal is None:
            os.makedirs(new, exist_ok=True)
            for receipt in receipts:
                self._put(receipt.location, join(new, str(receipt.detail)))
            journal = {"target": target, "inode": os.stat(new).st_ino, "old": old}
            self._write_journal(journal)
        if os.path.isdir(target) and os.stat(target).st_ino == journal["inode"]:
            return
        if os.path.islink(target):
            target = os.path.realpath(target)
        if not os.path.isdir(target):
            os.rename(new, target)
        elif not exchange(new, target):
            os.rename(target, old)
            os.rename(new, target)

    def ready_file(self) -> str | None:
        """The staged file that an earlier try of this commit had made ready; it is missing if that try published it."""
        journal = self._read_journal()
        return None if journal is None else str(journal["ready"])

    def publish_file(self, ready: str | None, rows: int) -> Committed:
        """Put a staged file in place of the target file; None leaves what is there."""
        size = 0
        if ready is not None:
            target = os.path.realpath(self.target.path) if self._local else self.target.path
            journal = self._read_journal()
            if journal is None:
                journal = {"ready": ready, "bytes": dict(self._store.match(ready))[ready], **self._way_back(ready, target)}
                self._write_journal(journal)
            size = int(journal["bytes"])
            self._put(ready, target)
        return self.finish(Committed(rows, size, (self.target.path,)))

    def _way_back(self, ready: str, target: str) -> dict[str, Any]:
        """What the journal needs so that an append to a local file can be taken back: the file as it was, under a second name."""
        if not self._local or self.mode != WriteMode.APPEND:
            return {}
        if not os.path.exists(target):
            return {"added": [target], "inode": os.stat(ready).st_ino}
        old = self._folder + ".old"
        with suppress(FileNotFoundError):
            os.unlink(old)
        try:
            os.link(target, old)
        except OSError:
            # A file system without hard links: then an append that dies before its marker stays.
            return {}
        return {"target": target, "inode": os.stat(ready).st_ino, "old": old}

    def _write_journal(self, journal: dict[str, Any]) -> None:
        self._store.write_text(self._journal, json.dumps({**journal, "marker": self._marker}))

    def _read_journal(self) -> dict[str, Any] | None:
        if not self._store.exists(self._journal):
            return None
        found: dict[str, Any] = json.loads(self._store.read_text(self._journal))
        return found

    def finish(self, committed: Committed) -> Committed:
        """Put the marker: the commit is done, and what it had staged goes."""
        fact: dict[str, Any] = {"rows": committed.rows, "bytes": committed.bytes, "locations": list(committed.locations)}
        if committed.returned is not None:
            fact["returned"] = {"location": committed.returned.location, "reasons": dict(committed.returned.reasons)}
        self._store.write_text(self._marker, json.dumps(fact))
        self.remove()
        markers = self._store.under(self._markers)
        if self._local and len(markers) > _KEPT_MARKERS:
            for path in sorted((path for path, _ in markers), key=os.path.getmtime)[:-_KEPT_MARKERS]:
                self._store.delete(path)
        return committed

    def remove(self) -> None:
        """Remove all that this step of the run staged; a publication that did not get to its marker is undone first."""
        with writing(self.target.path):
            if self._local:
                _undo(self._journal)
            if self._epoch is not None:
                # What other epochs have staged stays.
                for path in (self.staged("merged" + self.target.extension), self._folder + ".old", self._journal):
                    self._store.delete(path)
                return
            for path in (self._folder, self._folder + ".new", self._folder + ".old", self._journal):
                self._store.delete(path)
            left = self._store.under(self._run_folder) if self._store.exists(self._run_folder) else []
            if all(posixpath.basename(path) == "owner.json" for path, _ in left):
                self._store.delete(self._run_folder)
            if self._local:
                _prune([join(self._home, "staging"), self._home])

    def _sweep(self) -> None:
        """Remove the staging of runs that are dead; those of other machines are left alone."""
        staging = join(self._home, "staging")
        if not self._local or not os.path.isdir(staging):
            return
        for run in os.listdir(staging):
            folder = join(staging, run)
            if run != self._run and is_dead(join(folder, "owner.json")):
                for name in os.listdir(folder):
                    if name.endswith(".json") and name != "owner.json":
                        _undo(join(folder, name))
                self._store.delete(folder)


def _undo(journal: str) -> None:
    """Take back what a publication did that did not get as far as its marker, as far as that keeps the old state."""
    if not os.path.exists(journal):
        return
    with open(journal) as stream:
        found = json.load(stream)
    if os.path.exists(found["marker"]):
        return
    inode, target, old = found.get("inode"), found.get("target"), found.get("old")
    for path in found.get("added", ()):
        # The name of a part file is the run's own; a file of the user's naming may since be somebody else's.
        if os.path.isfile(path) and inode in (None, os.stat(path).st_ino):
            os.unlink(path)
    if old and os.path.isdir(old) and not os.path.lexists(target):
        os.rename(old, target)
    if old and os.path.isfile(old) and os.path.isfile(target) and os.stat(target).st_ino == inode:
        os.replace(old, target)


def _prune(folders: Sequence[str]) -> None:
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError:
            return


_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def exchange(first: str, second: str) -> bool:
    """Swap two folders in one step of the kernel; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)
