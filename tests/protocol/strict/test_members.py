from __future__ import annotations

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.protocol.strict.members import Members, check_members

READ = Members.of("name", "_meta", required="task", common=("title",))


@pytest.mark.parametrize("names", [(), ("name",), ("title", "task"), ("other", "_meta", "title"), ("names",)])
def test_names_that_are_read_and_different_ones_are_accepted(names: tuple[str, ...]):
    check_members(dict.fromkeys(names), READ)


@pytest.mark.parametrize("name", ["Name", "\uff4eame", "_META", "Task", "tas\u212a", "__proto__", "constructor"])
@pytest.mark.parametrize("others", [(), ("name", "title")])
def test_confusable_and_poisoned_names_are_refused(name: str, others: tuple[str, ...]):
    with pytest.raises(Refusal) as caught:
        check_members(dict.fromkeys((*others, name)), READ)
    assert caught.value.code is ErrorCode.PARAMS_MALFORMED


@pytest.mark.parametrize("name", ["Name", "TASK", "constructor"])
def test_no_refused_name_can_be_common(name: str):
    with pytest.raises(Refusal):
        Members.of("name", required="task", common=("title", name))
