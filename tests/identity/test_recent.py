from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.identity.recent import Owner, Recent


def owner(name: str) -> Owner:
    return ("main", name, "cli-1")


ANN, BOB = owner("ann"), owner("bob")


def filled(*entries: tuple[str, Owner | None], capacity: int = 6) -> tuple[Recent[str, str], list[Owner | None]]:
    gone: list[Owner | None] = []
    made: Recent[str, str] = Recent(capacity, gone.append)
    for key, who in entries:
        made.put(key, who, key.upper())
    return made, gone


def test_the_least_recently_used_entry_is_evicted():
    made, gone = filled(*((f"{number}", owner(f"{number}")) for number in range(6)))
    assert made.get("0") == "0"
    made.put("new", ANN, "NEW")
    assert (made.get("0"), made.get("1"), made.get("new")) == ("0", None, "NEW")
    assert gone == [owner("1")]


def test_one_owner_has_half_and_evicts_its_own():
    made, gone = filled(("bobs", BOB), *((f"anns{number}", ANN) for number in range(50)))
    assert gone == [ANN] * 47
    assert [key in made for key in ("bobs", "anns46", "anns47", "anns49")] == [True, False, True, True]


def test_an_owner_evicts_its_own_entries_first():
    made, gone = filled(*((f"{number}", owner(f"{number}")) for number in range(5)), ("anns", ANN))
    made.put("anns next", ANN, "")
    assert (gone, "0" in made, "anns" in made) == ([ANN], True, False)


def test_entries_without_an_owner_share_all_of_it():
    made, _ = filled(*((f"{number}", None) for number in range(20)))
    assert len(made) == 6
    assert "14" in made


def test_an_entry_put_again_or_removed_counts_once():
    made, gone = filled(("a", ANN), ("a", BOB), ("b", ANN))
    assert (len(made), made.pop("a"), made.pop("a"), made.pop("b"), gone) == (2, "A", None, "B", [])
    assert not made._owned


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "pop"]), st.integers(0, 3), st.integers(0, 5)), max_size=80))
def test_it_is_as_a_list_in_the_order_of_use(steps: list[tuple[str, int, int]]):
    made, _ = filled(capacity=5)
    model: list[tuple[str, int]] = []
    for verb, who, number in steps:
        key = f"{who}-{number}"
        known = (key, who) in model
        if verb == "get":
            assert (made.get(key) is not None) is known
        elif verb == "pop":
            made.pop(key)
        if known:
            model.remove((key, who))
        if verb == "put":
            own = [each for each in model if each[1] == who]
            if own and (len(model) >= 5 or len(own) >= 2):
                model.remove(own[0])
            elif len(model) >= 5:
                model.pop(0)
            made.put(key, owner(f"{who}"), key)
        if verb == "put" or (verb == "get" and known):
            model.append((key, who))
        assert list(made._entries) == [each for each, _ in model]
        assert sum(map(len, made._owned.values())) == len(model)
