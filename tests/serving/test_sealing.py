"""The gateway's sealing: what is not yet columnar stays small, beside appends and other sealers, wherever it is cut."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path

import pytest

from tests.prediction_rows import LATER, T0, make_rows
from trimtab.predictions import PredictionLog
from trimtab.predictions import sealer as sealer_process
from trimtab.predictions.backlog import BacklogReader
from trimtab.serving import sealing as sealing_module
from trimtab.serving.sealing import SEAL_ROWS, Sealing, rest_s
from trimtab.settings import Settings

ROWS, LIMIT_S = 200, 120.0


def sealing_of(tmp_path: Path, rows: int = ROWS) -> tuple[Sealing, PredictionLog]:
    """Sealing of one model's log, ten times a second."""
    settings = Settings.from_env({"TRIMTAB_HOME": str(tmp_path)})
    return Sealing(settings, lambda: ["loan"], rows, 0.1), PredictionLog(settings.predictions_dir / "loan", settings)


async def until(holds) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(LIMIT_S):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)


def test_the_spool_stays_small_while_appends_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is there once, in segments but for the last few, and all are still to be acknowledged in the ledger."""
    sealing, log = sealing_of(tmp_path)
    monkeypatch.setattr(sealing_module, "_REST", 0)
    done = threading.Event()
    appended = []

    def append() -> None:
        while not done.is_set():
            rows = make_rows(20)
            log.append(rows)
            appended.extend(rows["prediction_id"].to_pylist())
            time.sleep(0.005)

    async def main() -> None:
        sealing.start()
        writer = threading.Thread(target=append)
        writer.start()
        try:
            await until(lambda: len(log.spans()) >= 2)
            # Another sealer at the same time, as `watch` is one, takes nothing twice.
            named = await asyncio.to_thread(log.seal)
        finally:
            done.set()
            writer.join()
        assert {span.name for span in named} == {span.name for span in log.spans()[: len(named)]}
        await until(lambda: BacklogReader(log.folder).read().rows < ROWS)
        await sealing.stop()

    asyncio.run(main())
    assert log.read(T0, LATER)["prediction_id"].to_pylist() == sorted(appended)
    assert log.verify() == len(log.spans())
    log.close()


def test_rests_become_shorter_only_where_very_many_rows_wait() -> None:
    """A twentieth of a core at most, until so much waits that it must be sealed under load too."""
    assert rest_s(2.0, SEAL_ROWS) == rest_s(2.0, 256 * SEAL_ROWS) == 38.0
    assert rest_s(2.0, 2 * 256 * SEAL_ROWS) == 19.0


def test_a_few_rows_are_left_where_they_are(tmp_path: Path) -> None:
    """No segment is made that is not worth it; of more rows the remainder stays in the spool."""
    _, log = sealing_of(tmp_path)
    log.append(make_rows(ROWS - 1))
    assert not log.seal_oldest(ROWS)
    assert log.spans() == []
    for _ in range(5):
        log.append(make_rows(1))
    assert log.seal_oldest(ROWS)
    assert not log.seal_oldest(ROWS)
    assert [span.rows for span in log.spans()] == [ROWS]
    assert BacklogReader(log.folder).read().rows == 4
    log.close()


def test_a_seal_that_is_stopped_loses_nothing(tmp_path: Path) -> None:
    """However soon the gateway ends, the rows are there once, and the next seal goes on."""
    for delay_s in (0.11, 0.3, 0.5, 0.7, 0.9):
        sealing, log = sealing_of(tmp_path / str(delay_s), 1)
        for _ in range(50):
            log.append(make_rows(100))

        async def main(sealing: Sealing = sealing, delay_s: float = delay_s) -> None:
            sealing.start()
            await asyncio.sleep(delay_s)
            await sealing.stop()

        asyncio.run(main())
        assert len(log.read(T0, LATER)) == 5000
        log.seal()
        assert sum(span.rows for span in log.spans()) == len(set(log.read(T0, LATER)["prediction_id"].to_pylist()))
        log.close()


def test_a_log_that_cannot_be_sealed_is_named_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says which and why; once its cause is gone the next turn seals."""
    sealing, log = sealing_of(tmp_path)
    log.append(make_rows(ROWS))
    obstacle = log.folder / "seal.lock"
    obstacle.mkdir()
    assert sealer_process.main([str(log.folder), str(ROWS)]) == 1
    assert "cannot be sealed" in capsys.readouterr().err

    async def main() -> None:
        sealing.start()
        await until(lambda: "the log is not sealed" in caplog.text)
        obstacle.rmdir()
        await until(lambda: len(log.spans()) == 1)
        await sealing.stop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "its sealer ended with 1" in caplog.text
    log.close()
