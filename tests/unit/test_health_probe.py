"""The probe of the log's folder says why nothing can be written there, and notices when it can again."""

import asyncio
import os
import shutil
from types import SimpleNamespace

import pytest

from trimtab.serving.health import LogProbe, small_blocks


async def test_a_folder_that_takes_data_is_no_reason_and_keeps_no_trace(tmp_path):
    assert await LogProbe(tmp_path / "predictions").refusal() == ""
    assert list((tmp_path / "predictions").iterdir()) == []


async def test_the_reason_is_named_and_looked_at_again_after_two_seconds(tmp_path):
    now = [0.0]
    folder = tmp_path / "predictions"
    folder.write_text("a file where the folder should be")
    probe = LogProbe(folder, lambda: now[0])
    reasons = await asyncio.gather(*(probe.refusal() for _ in range(50)))
    assert set(reasons) == {f"the prediction log cannot be written in {folder}: File exists"}
    folder.unlink()
    now[0] = 1.0
    assert await probe.refusal() == reasons[0]
    now[0] = 2.5
    assert await probe.refusal() == ""
    shutil.rmtree(folder)


async def test_who_stops_waiting_does_not_take_the_finding_from_others(tmp_path):
    probe = LogProbe(tmp_path)
    first = asyncio.create_task(probe.refusal())
    await asyncio.sleep(0)
    second = asyncio.create_task(probe.refusal())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ""


@pytest.mark.parametrize(("block_bytes", "told"), [(1024, True), (4096, False), (65536, False)])
def test_a_file_system_on_which_a_full_disk_would_end_the_gateway_is_told(tmp_path, monkeypatch, block_bytes, told):
    """Ext4 makes such ones of volumes below 512 MB."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=block_bytes))
    assert ("may be ended by SIGBUS" in small_blocks(tmp_path)) is told
