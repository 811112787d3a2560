"""What a MongoDB server says that the one of the tests never does: logins, rights, validators, views and capped collections."""

from __future__ import annotations

from typing import Any

import pytest

from beam_datahub.errors import AccessDenied, ConnectorError, InvalidValue, TargetUnusable, Transient
from beam_datahub.io.mongodb.connection import MongodbConnection, meaning
from beam_datahub.io.mongodb.target import refuse_target, staging_options
from beam_datahub.security import Secret
from tests.conftest import needed

errors = needed("pymongo.errors")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.OperationFailure("Authentication failed.", 18), AccessDenied),
        (errors.OperationFailure("bad auth : authentication failed", 8000), AccessDenied),
        (errors.OperationFailure("not authorized on shop to execute command", 13), AccessDenied),
        (errors.OperationFailure("Unrecognized pipeline stage name: '$x'", 40324), InvalidValue),
        (errors.OperationFailure("cursor id 5 not found", 43), Transient),
        (errors.NotPrimaryError("not primary"), Transient),
        (errors.AutoReconnect("connection closed"), Transient),
        (errors.ServerSelectionTimeoutError("db:27017: timed out (configured timeouts: x: 1.0ms)"), Transient),
        (errors.ServerSelectionTimeoutError("SSL handshake failed: db:27017: [SSL: UNEXPECTED_EOF_WHILE_READING]"), Transient),
        (errors.ConfigurationError("unknown option"), InvalidValue),
        (errors.OperationFailure("No space left on device", 14031), TargetUnusable),
        (errors.DuplicateKeyError("E11000 duplicate key", 11000), TargetUnusable),
        (errors.OperationFailure("something else", 99999), ConnectorError),
    ],
)
def test_what_the_client_raises_means_one_of_ours(error: Exception, kind: type[Exception]) -> None:
    found = meaning(error)
    assert type(found) is kind
    assert "configured timeouts" not in str(found)
    assert meaning(ValueError("not the client's")) is None


def test_settings_that_stand_beside_a_url_win_and_no_secret_is_shown() -> None:
    connection = MongodbConnection(
        url="mongodb://etl@db:27018/", database="shop", user="other", password=Secret("hunter2"), tls_ca="ca.pem"
    )
    settings = connection.settings()
    assert (settings["host"], settings["username"], settings["password"]) == ("mongodb://etl@db:27018/", "other", "hunter2")
    assert settings["tls"] is True
    assert "hunter2" not in repr(connection)
    assert str(connection.dataset("orders")) == "mongodb://db:27018:shop.orders"
    assert connection.resolved("/etc/x").tls_ca == "/etc/x/ca.pem"


class Described:
    """A database of one collection, as the server describes it."""

    def __init__(self, **described: Any) -> None:
        self._described = {"name": "out", "type": "collection", "options": {}, **described}

    def list_collections(self, filter: Any) -> Any:
        return iter([self._described])


def test_what_a_collection_demands_of_documents_is_demanded_of_those_that_replace_it() -> None:
    validator = {"$jsonSchema": {"required": ["id"]}}
    options = {"validator": validator, "validationLevel": "strict", "capped": True, "size": 5, "collation": {"locale": "de"}}
    database: Any = Described(options=options)
    assert staging_options(database, "out") == {
        "validator": validator,
        "validationLevel": "strict",
        "collation": {"locale": "de"},
    }
    assert staging_options(database, "other") == {}


def test_what_cannot_be_replaced_is_refused() -> None:
    view: Any = Described(type="view")
    capped: Any = Described(options={"capped": True})
    series: Any = Described(type="timeseries")
    with pytest.raises(TargetUnusable, match="is a view"):
        refuse_target(view, "out")
    with pytest.raises(TargetUnusable, match="is capped"):
        refuse_target(capped, "out", overwriting=True)
    with pytest.raises(TargetUnusable, match="a time series"):
        refuse_target(series, "out", overwriting=True)
    refuse_target(capped, "out")
    refuse_target(series, "other", overwriting=True)
