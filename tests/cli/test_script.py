"""The scripts as other programs get them: the very bytes that the sidecar runs."""

from __future__ import annotations

import hashlib

from sidecar.store.commands import scripts
from tests.cli.support import Run
from tests.support.store import StoreServer


def test_every_script_is_listed_and_printed_as_the_sidecar_runs_it(run: Run, store_server: StoreServer) -> None:
    listed = run("script", "--format", "json").json
    assert [each["name"] for each in listed] == sorted(script.name for script in scripts.scripts)
    for each in listed:
        text = run("script", each["name"]).out
        assert hashlib.sha1(text.encode()).hexdigest() == each["sha1"]
        assert run("script", each["name"], "--format", "json").json == {**each, "source": text}
        assert each["sha1"] in run("script").out
        with store_server.client() as client:
            assert client.script_load(text) == each["sha1"]


def test_a_script_that_is_none_is_2(run: Run) -> None:
    result = run("script", "clock")
    assert (result.status, result.out) == (2, "")
    assert "credits" in result.err
