"""Entries whose fields are the columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from beam_datahub.component.arrow_blocks import Fitting
from beam_datahub.component.files import record_batch
from beam_datahub.component.messages.decoding import Bad, Decoded, Decoder, fitted, shown
from beam_datahub.component.messages.text import as_text
from beam_datahub.component.source import Drift, ReadRequest


class FieldsDecoder(Decoder):
    """Fields by name, as text, in the types that the schema gives them; a field that is missing is null."""

    def __init__(self, request: ReadRequest, place: str, longest: int) -> None:
        super().__init__(request, place, longest)
        self._request = replace(request, dictionaries=False)
        self._known = {name.encode() for name in request.schema.names}

    def decode(self, values: list[Any]) -> Decoded:
        entries: list[Mapping[bytes, bytes]] = values
        bad: dict[int, Bad] = {}
        arrays, fields = [], []
        for field in self._request.projected:
            name = field.name.encode()
            array = pa.array([entry.get(name) for entry in entries], pa.binary())
            if field.type != pa.binary():
                array, wrong = as_text(array)
                bad.update(dict.fromkeys(wrong, ("encoding", f"the field '{field.name}' is not valid UTF-8", field.name)))
            arrays.append(array)
            fields.append(pa.field(field.name, array.type))
        for i, entry in enumerate(entries):
            if sum(map(len, entry.values())) > self.longest:
                bad[i] = ("malformed", f"the record is longer than {self.longest} bytes", None)
        names = dict.fromkeys(name for entry in entries for name in entry)
        drifted = tuple(shown(name) for name in names if name not in self._known)
        if drifted and self._request.contract.columns == Drift.DISCARD_ROW:
            for i, entry in enumerate(entries):
                strangers = [shown(name) for name in entry if name not in self._known]
                if strangers:
                    message = f"the record has the column '{strangers[0]}', which the schema does not have"
                    bad.setdefault(i, ("contract", message, strangers[0]))
            drifted = ()
        batch = record_batch(arrays, pa.schema(fields), len(entries))

        def original(i: int) -> str:
            return json.dumps({shown(k): shown(v) for k, v in entries[i].items()}, ensure_ascii=False)

        found = fitted(Fitting(self._request, self.place, drifted), batch, len(entries), bad, original, drifted)
        return replace(found, original=original)
