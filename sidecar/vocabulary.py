"""Cheap forms of the values that every call makes or reads: records and enums of texts.

A frozen dataclass assigns each field by `object.__setattr__`, and `Enum.value` is a property in Python: both take
several times as long as plain attributes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, dataclass_transform

_Type = TypeVar("_Type")


@dataclass_transform(frozen_default=True, eq_default=True, field_specifiers=(field,))
def record(cls: type[_Type]) -> type[_Type]:
    """Make a dataclass with slots, equality and a hash that the type check holds immutable, not the running program."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


class TextEnum(StrEnum):
    """Enum of texts whose `value` is an attribute."""

    __slots__ = ("value",)
    _value_: str

    __hash__ = str.__hash__  # an enum's own is a function of Python

    def __init__(self, text: str) -> None:
        self.value = text  # type: ignore[misc]  # other enums have a property
