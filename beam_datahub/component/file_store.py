"""Where files live: the local disk by its own calls, everything else through Beam's FileSystems.

One table per direction says what an error of the operating system or of a client library means to the user.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    DataHubError,
    SourceMissing,
    TargetUnusable,
    Transient,
    UnreadableData,
)

_OBJECT_STORES = ("s3:", "gs:", "azfs:", "az:")
_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")

_READ_ERRNO: dict[int, type[ConnectorError]] = {
    errno.ENOENT: SourceMissing,
    errno.ENOTDIR: SourceMissing,
    errno.EISDIR: SourceMissing,
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EIO: Transient,
    errno.ESTALE: Transient,
    errno.ETIMEDOUT: Transient,
    errno.ECONNRESET: Transient,
    errno.EMFILE: Transient,
}
_WRITE_ERRNO: dict[int, type[ConnectorError]] = {
    errno.ESTALE: Transient,
    errno.ETIMEDOUT: Transient,
    errno.ECONNRESET: Transient,
    errno.EMFILE: Transient,
}
# What the clients of object stores say, in words or as an HTTP status.
_REMOTE: tuple[tuple[str, type[ConnectorError]], ...] = (
    (r"\b(401|403)\b|forbidden|access ?denied|unauthorized|credential|permission", AccessDenied),
    (r"\b404\b|not ?found|no such (key|bucket|file)|nosuch", SourceMissing),
    (r"\b(408|429|5\d\d)\b|time[d ]*out|connection|temporar|unavailable|slow ?down|reset by peer", Transient),
)
_NO_FOLDER = "a part of the path is a file where a folder is wanted"
_FULL = "make room on the device, or write elsewhere"
_HINTS: dict[int, str] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "a file may not get that big here; set a smaller `target_file_size`",
    errno.EROFS: "the file system is read-only",
    errno.EEXIST: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.ENOENT: "is the folder above it there, and can it hold files?",
    errno.EPERM: "the file or its folder may not be changed",
    errno.EBUSY: "something else holds it, such as a mount",
    errno.EACCES: "the user that runs beam-datahub lacks the right",
}


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into a ConnectorError that names it."""
    try:
        yield
    except DataHubError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise UnreadableData(f"'{path}' cannot be read: {_words(error)}") from error
    except OSError as error:
        if _is_remote(error):
            raise _remote(error, UnreadableData)(f"'{path}' cannot be read: {_words(error)}") from error
        if error.errno is None:
            # Arrow reports damage inside a file as an OSError without a number.
            raise UnreadableData(f"'{path}' cannot be read: {_words(error)}") from error
        kind = _READ_ERRNO.get(error.errno, UnreadableData)
        raise kind(f"'{path}' cannot be read: {os.strerror(error.errno)}", hint=_HINTS.get(error.errno)) from error
    except Exception as error:
        if not _is_remote(error):
            raise
        raise _remote(error, UnreadableData)(f"'{path}' cannot be read: {_words(error)}") from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into a ConnectorError that names it."""
    try:
        yield
    except DataHubError:
        raise
    except OSError as error:
        if _is_remote(error):
            raise _remote_write(error)(f"'{path}' cannot be written: {_words(error)}") from error
        number = error.errno or 0
        kind = _WRITE_ERRNO.get(number, TargetUnusable)
        said = os.strerror(number) if number else _words(error)
        raise kind(f"'{path}' cannot be written: {said}", hint=_HINTS.get(number)) from error
    except Exception as error:
        if not _is_remote(error):
            raise
        raise _remote_write(error)(f"'{path}' cannot be written: {_words(error)}") from error


def _words(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__


def _is_remote(error: Exception) -> bool:
    module = type(error).__module__.split(".")[0]
    return module in ("apache_beam", "botocore", "boto3", "google", "azure", "requests", "urllib3")


def _remote(error: Exception, otherwise: type[ConnectorError]) -> type[ConnectorError]:
    details = getattr(error, "exception_details", None)
    text = f"{error} {details or ''} {getattr(error, 'code', '')}".lower()
    return next((kind for pattern, kind in _REMOTE if re.search(pattern, text)), otherwise)


def _remote_write(error: Exception) -> type[ConnectorError]:
    return Transient if _remote(error, TargetUnusable) is Transient else TargetUnusable


class Store(ABC):
    """The few file operations that sources and sinks need; paths are whole paths or URLs."""

    @abstractmethod
    def match(self, pattern: str) -> list[tuple[str, int]]:
        """The files that a path or glob names, with sizes in bytes, sorted; a folder gives nothing."""

    @abstractmethod
    def under(self, folder: str) -> list[tuple[str, int]]:
        """All files below a folder, at any depth, hidden ones included, with sizes in bytes, sorted."""

    @abstractmethod
    def open_input(self, path: str) -> pa.NativeFile:
        """The bytes of a file, seekable."""

    @abstractmethod
    def open_output(self, path: str) -> pa.NativeFile:
        """A new file; folders above it come into being."""

    @abstractmethod
    def move(self, source: str, target: str) -> None:
        """Rename a file, atomically where the system can; replaces the target."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that it holds; nothing happens where there is none."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is a file, or a folder that holds some."""

    def read_text(self, path: str) -> str:
        """A small text file, whole."""
        with self.open_input(path) as stream:
            return str(stream.read().decode())

    def write_text(self, path: str, text: str) -> None:
        """Write a small text file so that a reader sees all or nothing of it."""
        with self.open_output(path + ".tmp") as stream:
            stream.write(text.encode())
        self.move(path + ".tmp", path)


class LocalStore(Store):
    """The local disk."""

    def match(self, pattern: str) -> list[tuple[str, int]]:
        try:
            fact = os.stat(pattern)
        except (FileNotFoundError, NotADirectoryError):
            if not glob.has_magic(pattern):
                return []
        else:
            # A pipe or a device can be read as well.
            return [] if stat.S_ISDIR(fact.st_mode) else [(pattern, fact.st_size)]
        found = glob.glob(pattern, recursive=True)
        return sorted((path, os.path.getsize(path)) for path in found if os.path.isfile(path))

    def under(self, folder: str) -> list[tuple[str, int]]:
        found = []
        for root, _, names in os.walk(folder, onerror=_raise):
            for name in names:
                path = os.path.join(root, name)
                if os.path.isfile(path):
                    found.append((path, os.path.getsize(path)))
        return sorted(found)

    def open_input(self, path: str) -> pa.NativeFile:
        if not os.access(path, os.R_OK):
            # Arrow reports these without an errno on some systems.
            with open(path, "rb"):
                pass
        return pa.OSFile(path, "rb")

    def open_output(self, path: str) -> pa.NativeFile:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return pa.OSFile(path, "wb")

    def move(self, source: str, target: str) -> None:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        os.replace(source, target)

    def delete(self, path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            os.unlink(path)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)


class BeamStore(Store):
    """Whatever Beam's FileSystems reach: object stores, HDFS."""

    @property
    def _systems(self) -> Any:
        from apache_beam.io.filesystems import FileSystems

        return FileSystems

    def match(self, pattern: str) -> list[tuple[str, int]]:
        found = [(entry.path, entry.size_in_bytes) for entry in self._systems.match([pattern])[0].metadata_list]
        # File systems with real folders match them as well.
        if [path for path, _ in found] == [pattern] and not pattern.startswith(_OBJECT_STORES):
            found = [] if self._systems.match([pattern.rstrip("/") + "/*"])[0].metadata_list else found
        return sorted((path, size) for path, size in found if not path.endswith("/"))

    def under(self, folder: str) -> list[tuple[str, int]]:
        return self.match(folder.rstrip("/") + "/**")

    def open_input(self, path: str) -> pa.NativeFile:
        from apache_beam.io.filesystem import CompressionTypes

        return pa.PythonFile(self._systems.open(path, compression_type=CompressionTypes.UNCOMPRESSED), mode="r")

    def open_output(self, path: str) -> pa.NativeFile:
        from apache_beam.io.filesystem import CompressionTypes

        folder = path.rpartition("/")[0]
        # Object stores have no folders and refuse nothing; file systems need them.
        if (not _URL.match(path) or path.startswith(("file:", "hdfs:"))) and not self._systems.exists(folder):
            self._systems.mkdirs(folder)
        return pa.PythonFile(self._systems.create(path, compression_type=CompressionTypes.UNCOMPRESSED), mode="w")

    def move(self, source: str, target: str) -> None:
        folder = target.rpartition("/")[0]
        if not _URL.match(target) and not self._systems.exists(folder):
            self._systems.mkdirs(folder)
        self._systems.rename([source], [target])

    def delete(self, path: str) -> None:
        found = [name for name, _ in self.match(path)] or [name for name, _ in self.under(path)]
        if found:
            self._systems.delete(found)

    def exists(self, path: str) -> bool:
        return bool(self.match(path) or self.under(path))


def is_url(path: str) -> bool:
    """Whether a path is a URL such as s3://bucket/key."""
    return bool(_URL.match(path))


def local_path(path: str) -> str | None:
    """The plain local path that `path` is, or None when it lies elsewhere."""
    if path.startswith("file://"):
        return path[len("file://") :]
    return None if is_url(path) else path


def store_of(path: str) -> Store:
    """The store that holds `path`."""
    return LocalStore() if local_path(path) is not None else BeamStore()


def _raise(error: OSError) -> None:
    raise error


def join(folder: str, *names: str) -> str:
    """A path below a folder."""
    return "/".join([folder.rstrip("/") if folder != "/" else "", *names])
