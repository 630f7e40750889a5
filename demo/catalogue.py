"""Data of the demo's backend: invented stores and contacts, all below `.example`, always the same."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel

Category = Literal["apparel", "beauty", "coffee", "garden", "toys"]
CATEGORIES: Final[tuple[Category, ...]] = ("apparel", "beauty", "coffee", "garden", "toys")
COUNTRIES: Final = ("DE", "FR", "US")


class Store(BaseModel):
    """One shop."""

    domain: str
    name: str
    category: Category
    country: str
    apps: list[str]
    description: str = ""


class Preview(BaseModel):
    """A contact without its channels, as searches show it."""

    id: str
    domain: str
    name: str
    role: str


class Contact(Preview):
    """A contact with its channels, as revealing shows it."""

    email: str
    phone: str


class Taxonomy(BaseModel):
    """Categories and countries for searching stores."""

    categories: list[Category]
    countries: list[str]


class StoreRows(BaseModel):
    """Found stores, up to the limit, and their total number."""

    rows: list[Store]
    total: int


class PreviewRows(BaseModel):
    """Found previews, up to the limit, and their total number."""

    rows: list[Preview]
    total: int


class Revealed(BaseModel):
    """Existing contacts among the requested ones."""

    contacts: list[Contact]


_APPS: Final = ("reviews", "loyalty", "subscriptions", "bundles")
_PEOPLE: Final = (("Ada Ames", "founder"), ("Ben Boor", "marketing"))


def _stores() -> dict[str, Store]:
    stores = (
        Store(
            domain=f"{category}-{number}.example",
            name=f"{category.title()} Shop {number}",
            category=category,
            country=COUNTRIES[number % len(COUNTRIES)],
            apps=list(_APPS[: 1 + number % len(_APPS)]),
        )
        for category in CATEGORIES
        for number in range(1, 9)
    )
    return {store.domain: store for store in stores}


STORES: Final = _stores()
"""All stores by domain, `apparel-1.example` to `toys-8.example`."""


def _contacts() -> dict[str, Contact]:
    pairs = ((store, person) for store in STORES.values() for person in _PEOPLE)
    contacts = (
        Contact(
            id=f"c{number}",
            domain=store.domain,
            name=name,
            role=role,
            email=f"{name.partition(' ')[0].lower()}@{store.domain}",
            phone=f"+00 555 {number:04}",
        )
        for number, (store, (name, role)) in enumerate(pairs, start=1)
    )
    return {contact.id: contact for contact in contacts}


CONTACTS: Final = _contacts()
"""All contacts by id, `c1` to `c80`; two per store, in the order of the stores."""
