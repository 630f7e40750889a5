"""Processes of the demo start with a word, and end whatever they do."""

import os

import pytest

from demo.processes import ConditionNotMetError, Process, until

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def process(folder, code):
    (folder / "played.py").write_text(code)
    return Process("played", folder, "player")


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path):
    player = process(tmp_path, STUBBORN)
    player.start([])
    assert await player.line("up") == "up"
    pid = player.pid
    player.end(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    player.end()  # once more is nothing


async def test_after_a_kill_only_new_output_is_waited_for(tmp_path):
    player = process(tmp_path, STUBBORN)
    for _ in range(2):
        player.start([])
        await player.line("up")
        player.kill()
    assert player.lines() == ["up", "up"]
    with pytest.raises(ConditionNotMetError):
        _ = player.pid


async def test_the_last_output_of_an_ended_process_is_reported(tmp_path):
    player = process(tmp_path, "raise SystemExit('no such thing')")
    player.start([])
    with pytest.raises(ConditionNotMetError, match="no such thing"):
        await player.line("up")
    player.end()


async def test_waiting_times_out():
    async def never():
        return None

    with pytest.raises(ConditionNotMetError, match="a miracle: not within"):
        await until("a miracle", never, 0.1)
