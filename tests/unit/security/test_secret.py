from __future__ import annotations

import copy
import json
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from beam_datahub.errors import AccessDenied, MissingValue
from beam_datahub.security import EnvironmentSecrets, FileSecrets, Reference, Secret, Secrets, default_providers
from beam_datahub.security.secret import find, resolve
from beam_datahub.spec import loads

VALUE = "hunter2-söcret"


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_PW", VALUE)
    document = loads(
        "name: x\nsource: {connector: db, connection: {url: 'postgres://u:${secret.pw}@h/db'}}\ndestination: {connector: csv}"
    )
    found = document.integration.sources["source"].connection["url"]
    assert isinstance(found, Secret)
    return found


class Connection(BaseModel):
    model_config = ConfigDict(frozen=True)
    url: Secret | str
    password: Secret | None = None


def test_nothing_that_prints_a_secret_shows_it(url: Secret) -> None:
    model = Connection(url=url)
    shown = [
        repr(url),
        str(url),
        f"{url}",
        f"{url!r:>40}",
        "%s" % url,  # noqa: UP031
        repr([url]),
        repr(model),
        str(model),
        model.model_dump_json(),
        json.dumps(model.model_dump(mode="json")),
        json.dumps({"url": url}, default=str),
        str(model.model_dump()),
    ]
    for text in shown:
        assert VALUE not in text
        assert "postgres" not in text
    assert url.reveal() == f"postgres://u:{VALUE}@h/db"


def test_a_secret_is_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps({"pw": Secret([Reference("environment", "pw")], VALUE)})


def test_a_pickle_holds_the_name_and_not_the_value(url: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(Connection(url=url))
    assert VALUE.encode() not in data
    assert VALUE not in str(list(pickletools.genops(data)))
    assert b"pw" in data
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_PW", "another")
    on_worker = pickle.loads(data)
    assert isinstance(on_worker.url, Secret)
    assert on_worker.url.reveal() == "postgres://u:another@h/db"
    assert on_worker.url == url


def test_a_worker_without_the_secret_says_which_one(url: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(url)
    monkeypatch.delenv("BEAM_DATAHUB_SECRET_PW")
    with pytest.raises(MissingValue, match="'pw' is not known"):
        pickle.loads(data).reveal()


def test_copies_keep_the_value(url: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEAM_DATAHUB_SECRET_PW")
    assert copy.deepcopy({"a": url})["a"].reveal() == url.reveal()
    assert copy.copy(url).reveal() == url.reveal()


@pytest.mark.parametrize("model", [type("OnlySecret", (BaseModel,), {"__annotations__": {"pw": Secret}})])
def test_a_secret_option_takes_no_plain_text(model: Any) -> None:
    secret = Secret([Reference("environment", "pw")], VALUE)
    assert model(pw=secret).pw is secret
    with pytest.raises(ValidationError):
        model(pw="plain")
    assert model.model_json_schema()["properties"]["pw"]["format"] == "password"


def test_an_option_for_both_takes_both() -> None:
    assert Connection(url="sqlite:///x.db").url == "sqlite:///x.db"


def test_the_environment_comes_before_files(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from file\n")
    (tmp_path / "other").write_text("line 1\nline 2\r\n")
    environment = {"BEAM_DATAHUB_SECRETS_DIR": str(tmp_path)}
    found = find("pw", default_providers(environment))
    assert found == (Reference("file", "pw"), "from file")
    assert find("other", default_providers(environment)) == (Reference("file", "other"), "line 1\nline 2")
    environment["BEAM_DATAHUB_SECRET_PW"] = "from environment"
    assert find("pw", default_providers(environment)) == (Reference("environment", "pw"), "from environment")
    assert find("none", default_providers(environment)) is None


def test_a_reference_asks_its_own_provider_first(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from file")
    providers = [EnvironmentSecrets({"BEAM_DATAHUB_SECRET_pw": "from environment"}), FileSecrets(tmp_path)]
    assert resolve(Reference("file", "pw"), providers) == "from file"
    assert resolve(Reference("vault", "pw"), providers) == "from environment"


def test_a_name_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "pw").write_text("x")
    for name in ("../pw", str(tmp_path / "pw"), "..", ""):
        assert FileSecrets(tmp_path / "inner").get(name) is None


def test_a_secret_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AccessDenied):
        FileSecrets(tmp_path).get("pw")


def test_an_empty_secret_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("\n")
    assert FileSecrets(tmp_path).get("pw") is None
    assert EnvironmentSecrets({"BEAM_DATAHUB_SECRET_pw": ""}).get("pw") is None


def test_known_secrets_show_and_pickle_nothing() -> None:
    secrets = Secrets([VALUE])
    assert VALUE not in repr(secrets)
    assert VALUE.encode() not in pickle.dumps(secrets)
    assert VALUE in list(secrets)
