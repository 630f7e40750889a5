"""Short words for the trace."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any

from sidecar.model import AdmissionReply, Application, Demand
from sidecar.outcome import Charge, Receipt
from tests.ledger.simulation.messages import Command


def words(thing: Any) -> str:
    """Return one value in words."""
    match thing:
        case Enum():
            return thing.name.lower()
        case Command():
            parts = [
                words(getattr(thing, each.name)) for each in fields(thing) if getattr(thing, each.name) is not None
            ]
            return f"{type(thing).__name__}({', '.join(parts)})"
        case Application():
            request = "" if thing.request is None else f" as {thing.request}"
            return f"{thing.call_id}{request}: {words(thing.demands)}"
        case Demand():
            items = "" if thing.items is None else f" for {''.join(thing.items)}"
            return f"{thing.reserve} {thing.name}{items}"
        case Charge():
            return (
                "the reserve"
                if thing.amount is None and thing.items is None
                else str(thing.amount if thing.items is None else thing.items)
            )
        case AdmissionReply():
            return thing.code.name.lower()
        case Receipt():
            return "late" if thing.late else words({**thing.paid, **thing.used})
        case tuple() | list():
            return f"[{', '.join(map(words, thing))}]"
        case _:
            return str(thing)
