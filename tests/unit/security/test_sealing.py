"""Sealed secrets open with their key, where they belong, and nowhere else."""

from __future__ import annotations

import base64
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_datahub.errors import WrongKey
from beam_datahub.security.sealing import Sealer, key_id, load_sealer, new_key, read_keys, write_keys


def test_what_is_sealed_opens_again_and_never_looks_the_same_twice() -> None:
    sealer = Sealer([new_key()])
    for secret in (b"", b"hunter2", bytes(range(256)) * 100):
        first, second = sealer.seal(secret, "connection/crm/password"), sealer.seal(secret, "connection/crm/password")
        assert first != second
        assert sealer.unseal(first, "connection/crm/password") == secret


def test_a_sealed_text_opens_only_where_it_belongs() -> None:
    sealer = Sealer([new_key()])
    sealed = sealer.seal(b"hunter2", "connection/crm/password")
    with pytest.raises(WrongKey, match="connection/erp/password is damaged"):
        sealer.unseal(sealed, "connection/erp/password")


@pytest.mark.parametrize("position", [0, 20, -1])
def test_a_changed_sealed_text_does_not_open(position: int) -> None:
    sealer = Sealer([new_key()])
    prefix, key, body = sealer.seal(b"hunter2", "x").split(":")
    raw = bytearray(base64.urlsafe_b64decode(body))
    raw[position] ^= 1
    with pytest.raises(WrongKey, match="damaged"):
        sealer.unseal(f"{prefix}:{key}:{base64.urlsafe_b64encode(raw).decode()}", "x")


def test_plain_text_is_not_taken_for_a_sealed_one() -> None:
    with pytest.raises(WrongKey, match="not a sealed text"):
        Sealer([new_key()]).unseal("hunter2", "x")


def test_another_key_says_which_one_is_wanted() -> None:
    right, wrong = new_key(), new_key()
    sealed = Sealer([right]).seal(b"hunter2", "x")
    with pytest.raises(WrongKey, match=f"sealed with the key {key_id(right)}.*{key_id(wrong)}") as caught:
        Sealer([wrong]).unseal(sealed, "x")
    assert caught.value.code == "DH214"
    assert "BEAM_DATAHUB_KEY" in (caught.value.hint or "")


def test_a_new_key_seals_while_the_old_one_still_opens() -> None:
    old, new = new_key(), new_key()
    sealed = Sealer([old]).seal(b"hunter2", "x")
    both = Sealer([new, old])
    again = both.reseal(sealed, "x")
    assert both.unseal(sealed, "x") == b"hunter2"
    assert Sealer([new]).unseal(again, "x") == b"hunter2"
    assert both.reseal(again, "x") == again


def test_derived_keys_differ_by_purpose_and_by_key() -> None:
    first, second = new_key(), new_key()
    sealer = Sealer([first, second])
    assert sealer.derive("mask/orders/email") == Sealer([first]).derive("mask/orders/email")
    assert len({sealer.derive("a"), sealer.derive("b"), sealer.derive("a", key=key_id(second))}) == 3
    with pytest.raises(WrongKey, match="0123456789ab"):
        sealer.derive("a", key="0123456789ab")


def test_keys_show_nowhere_and_do_not_travel() -> None:
    key = new_key()
    sealer = Sealer([key])
    assert base64.b64encode(key).decode() not in f"{sealer!r} {sealer}"
    with pytest.raises(TypeError, match="does not travel"):
        pickle.dumps(sealer)


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    ours, other = new_key(), new_key()
    write_keys(tmp_path / "key", [other])
    text = base64.urlsafe_b64encode(ours).decode() + "," + base64.b64encode(other).decode()
    sealer = load_sealer(tmp_path / "key", environment={"BEAM_DATAHUB_KEY": text})
    assert sealer.known == (key_id(ours), key_id(other))
    elsewhere = load_sealer(tmp_path / "none", environment={"BEAM_DATAHUB_KEY_FILE": str(tmp_path / "key")})
    assert elsewhere.known == (key_id(other),)


@pytest.mark.parametrize(
    ("text", "message"),
    [("hunter2!", "not base64"), (base64.b64encode(b"short").decode(), "has 5 bytes, not 32"), ("# nothing", "holds no key")],
)
def test_a_key_that_is_none_is_refused_without_being_shown(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(WrongKey, match=message) as caught:
        load_sealer(tmp_path / "key", environment={"BEAM_DATAHUB_KEY": text})
    assert text not in str(caught.value)


def test_a_missing_key_file_is_an_error_unless_it_may_be_created(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    with pytest.raises(WrongKey, match="there is no key"):
        load_sealer(path, environment={})
    made = load_sealer(path, create=True, environment={})
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_sealer(path, environment={}).current == made.current


def test_processes_that_begin_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = {
            each.current for each in pool.map(lambda _: load_sealer(tmp_path / "key", create=True, environment={}), range(32))
        }
    assert len(found) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write_keys(tmp_path / "key", [new_key()])
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(WrongKey, match="others can read") as caught:
        read_keys(tmp_path / "key")
    assert caught.value.hint == f"chmod 600 {tmp_path / 'key'}"
