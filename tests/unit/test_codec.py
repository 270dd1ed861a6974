"""Encryption of arguments and results, and the rotation of its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pgqueue import codec
from pgqueue.app import PgQueue
from pgqueue.crypto import AesGcmCodec
from pgqueue.enqueue import contract
from pgqueue.errors import ConfigError, InvalidPayload, KeyMissing

OLD, NEW = AesGcmCodec.generate_key(), AesGcmCodec.generate_key()
CONTEXT = "args of mail.send"


@pytest.fixture
def aes() -> AesGcmCodec:
    return AesGcmCodec({"old": OLD})


def test_what_was_sealed_is_json_without_the_text_and_is_opened_again(aes: AesGcmCodec) -> None:
    text = '{"to":"Zoë <zoe@shop>"}'
    envelope = codec.seal(aes, text, CONTEXT)
    assert "zoe@shop" not in envelope
    value = json.loads(envelope)
    assert codec.is_sealed(value)
    assert (value["$pgqueue"]["codec"], value["$pgqueue"]["kid"]) == ("aesgcm", "old")
    assert codec.opened(aes, value, CONTEXT) == text
    assert codec.describe(value) == "encrypted by aesgcm with the key old"


def test_the_same_text_never_looks_the_same(aes: AesGcmCodec) -> None:
    assert codec.seal(aes, "{}", CONTEXT) != codec.seal(aes, "{}", CONTEXT)


def test_after_a_rotation_old_jobs_are_read_and_new_ones_have_the_new_key() -> None:
    old = AesGcmCodec({"old": OLD})
    both = AesGcmCodec({"old": OLD, "new": NEW}, current="new")
    new = AesGcmCodec({"new": NEW})
    waiting = json.loads(codec.seal(old, "1", CONTEXT))
    written = json.loads(codec.seal(both, "2", CONTEXT))
    assert codec.opened(both, waiting, CONTEXT) == "1"
    assert codec.opened(new, written, CONTEXT) == "2"
    for process, value in ((old, written), (new, waiting)):
        with pytest.raises(KeyMissing, match="give it that key too"):
            codec.opened(process, value, CONTEXT)


class Other:
    """A codec of somebody else's."""

    name = "other"

    def encode(self, text: str, context: str) -> dict[str, str]:
        return {"kid": "1", "data": text + context}

    def decode(self, sealed: Mapping[str, Any], context: str) -> str:
        del sealed, context
        raise RuntimeError("no connection to the key service")


def test_without_the_codec_that_wrote_it_the_key_is_missing(aes: AesGcmCodec) -> None:
    value = json.loads(codec.seal(aes, "1", CONTEXT))
    with pytest.raises(KeyMissing, match=r"with the key 'old', and this process has no codec"):
        codec.opened(None, value, CONTEXT)
    with pytest.raises(KeyMissing, match="has the codec 'other'"):
        codec.opened(Other(), value, CONTEXT)


def test_what_was_changed_moved_or_written_with_another_key_is_refused(aes: AesGcmCodec) -> None:
    value = json.loads(codec.seal(aes, "1", CONTEXT))
    impostor = AesGcmCodec({"old": NEW})
    changed = {"$pgqueue": value["$pgqueue"] | {"data": "AAAA" + value["$pgqueue"]["data"][4:]}}
    for process, read, context in (
        (aes, changed, CONTEXT),
        (aes, value, "args of mail.other"),
        (impostor, value, CONTEXT),
        (aes, {"$pgqueue": {"codec": "aesgcm", "kid": "old"}}, CONTEXT),
        (aes, {"$pgqueue": {"codec": "aesgcm", "kid": "old", "data": "%"}}, CONTEXT),
    ):
        with pytest.raises(InvalidPayload, match="cannot be decrypted"):
            codec.opened(process, read, context)


def test_a_codec_that_fails_is_told_by_name() -> None:
    value = json.loads(codec.seal(Other(), "1", CONTEXT))
    with pytest.raises(InvalidPayload, match="'other' raised RuntimeError: no connection"):
        codec.opened(Other(), value, CONTEXT)


@pytest.mark.parametrize(
    ("keys", "current"),
    [
        ({}, None),
        ({"a": OLD, "b": NEW}, None),
        ({"a": OLD}, "b"),
        ({"a": "c2hvcnQ="}, "a"),
        ({"a": "ä"}, "a"),
    ],
)
def test_keys_that_cannot_work_are_refused_and_never_shown(
    keys: dict[str, str], current: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        AesGcmCodec(keys, current=current)
    assert not any(key in str(caught.value) for key in keys.values())


@pytest.mark.parametrize("value", [{}, {"$pgqueue": 1}, {"$pgqueue": {}, "a": 1}, [], None, "a"])
def test_other_json_data_is_no_envelope(value: Any) -> None:
    assert not codec.is_sealed(value)


def test_an_app_with_a_codec_enqueues_envelopes_and_no_empty_ones(aes: AesGcmCodec) -> None:
    app = PgQueue(codec=aes)

    @app.task(name="mail.send")
    def send(to: str = "") -> None: ...

    document = json.loads(contract.encode(send.job("a"), limit=999, codec=app.codec))
    assert codec.opened(aes, document["args"], CONTEXT) == '{"to":"a"}'
    assert json.loads(contract.encode(send.job(), limit=999, codec=app.codec))["args"] == {}
