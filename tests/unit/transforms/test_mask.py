from __future__ import annotations

import hashlib
import hmac
import pickle

import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.kernels.session import KernelSession
from beam_datahub.testing.steps import run_step


def test_what_is_shown_is_never_the_whole_value() -> None:
    rows = [{"t": text} for text in ("123456", "1234", "12", "", None, "äöüß€")]
    found = run_step("mask", {"fields": {"t": {"method": "partial", "first": 1, "last": 3, "character": "#"}}}, {"input": rows})
    assert [row["t"] for row in found.rows] == ["1##456", "####", "##", "", None, "ä#üß€"]


def test_an_email_shows_its_domain_and_what_is_none_shows_nothing() -> None:
    mails = ["ada@example.org", "a@b.de", '"x@y"@example.org', "no mail", "@example.org", None]
    found = run_step("mask", {"fields": {"m": "email"}}, {"input": [{"m": mail} for mail in mails]})
    assert [row["m"] for row in found.rows] == ["ad***@example.org", "***@b.de", "***", "***", "***", None]


def test_every_type_can_be_masked_and_null_keeps_the_type() -> None:
    rows = [{"n": 4111, "d": "2025-01-31", "s": {"a": 1}}]
    config = {"fields": {"n": {"method": "partial", "last": 2}, "d": None, "s": {"method": "redact", "text": "gone"}}}
    found = run_step("mask", config, {"input": rows}, schema={"input": {"d": "date"}})
    assert found.rows == [{"n": "**11", "d": None, "s": "gone"}]
    assert found.schema.field("d").type == pa.date32()


def test_a_hash_is_keyed_and_the_key_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_MASK_KEY", "hunter2hunter2")
    config = {"fields": {"id": {"method": "hash", "key": "${secret.MASK_KEY}"}}}
    found = run_step("mask", config, {"input": [{"id": 7}, {"id": None}, {"id": 7}]})
    code = hmac.new(b"hunter2hunter2", b"7", hashlib.sha256).hexdigest()
    assert [row["id"] for row in found.rows] == [code, None, code]


def test_a_job_file_holds_no_key() -> None:
    from beam_datahub.kernels.pseudonyms import Hashed
    from beam_datahub.security import Reference, Secret
    from beam_datahub.transforms.mask import Pseudonyms

    secret = Secret([Reference("environment", "MASK_KEY")], "hunter2hunter2")
    kernel = Pseudonyms((Hashed("id", secret),))
    with KernelSession(threads=1) as session:
        kernel.apply(pa.record_batch({"id": ["a"]}), session)
    assert b"hunter2" not in pickle.dumps(kernel)
    assert "hunter2" not in repr(kernel.__dict__)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"method": "hash"}, "a hash needs a `key`"),
        ({"method": "hash", "key": "in clear"}, "must be a secret"),
        ({"method": "partial"}, "nothing would be shown"),
        ({"method": "blur"}, "'redact'"),
    ],
)
def test_a_wrong_mask_is_refused(rule: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words) as raised:
        run_step("mask", {"fields": {"t": rule}}, {"input": [{"t": "x"}]})
    assert "in clear" not in str(raised.value).replace("stand in clear", "")
