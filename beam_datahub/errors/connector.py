"""An outside system failed us, the store among them."""

from __future__ import annotations

from beam_datahub.errors.failure import DataHubError


class ConnectorError(DataHubError):
    """An outside system failed us."""

    code = "DH299"
    exit_status = 4


class SourceMissing(ConnectorError):
    """Nothing to read at the given place."""

    code = "DH201"


class UnreadableData(ConnectorError):
    """The data is not of the promised format, or is damaged."""

    code = "DH202"
    advice = "is it damaged, cut off, or of another format? fetch it again, or name files that leave it out"


class SchemaDrift(ConnectorError):
    """The data left the frozen contract."""

    code = "DH203"


class AccessDenied(ConnectorError):
    """The system refused us."""

    code = "DH204"
    advice = "the user that runs beam-datahub lacks the right"


class TargetUnusable(ConnectorError):
    """The destination cannot be written."""

    code = "DH205"
    advice = "look at its path and its rights, or write elsewhere"


class Transient(ConnectorError):
    """An outside failure that a retry may mend."""

    code = "DH206"
    advice = "run it again"


class StoreUnusable(ConnectorError):
    """The store cannot be opened, read or written."""

    code = "DH210"
    advice = "name another place with --store or BEAM_DATAHUB_STORE"


class StoreBusy(ConnectorError):
    """Another process held the store for too long."""

    code = "DH211"
    advice = "run it again; many writers at once are better served by PostgreSQL"


class StoreDamaged(ConnectorError):
    """The store's file is not a store, or is damaged."""

    code = "DH212"
    advice = "put a backup in its place, or move the file away to begin a new store"


class StoreVersion(ConnectorError):
    """The store is of another version."""

    code = "DH213"


class WrongKey(ConnectorError):
    """A sealed secret cannot be opened with the keys at hand, or a key is none."""

    code = "DH214"
    advice = "give the key that sealed it with BEAM_DATAHUB_KEY or BEAM_DATAHUB_KEY_FILE"


class Conflict(ConnectorError):
    """Somebody else changed it in the meantime."""

    code = "DH215"
    advice = "look at it again, then repeat the change"
