"""The spool's tables, and what each version of the format added: nothing is ever taken away."""

from __future__ import annotations

FORMAT_VERSION = 4

TABLES = """
CREATE TABLE IF NOT EXISTS schemas (id INTEGER PRIMARY KEY, body BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS batches (
  sequence INTEGER PRIMARY KEY, schema_id INTEGER NOT NULL, row_count INTEGER NOT NULL,
  first_id BLOB NOT NULL, last_id BLOB NOT NULL, min_event_time INTEGER NOT NULL, max_event_time INTEGER NOT NULL,
  checksum INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batches_by_id ON batches (last_id, first_id);
CREATE INDEX IF NOT EXISTS batches_wide ON batches (last_id, first_id)
  WHERE substr(first_id, 1, 8) <> substr(last_id, 1, 8);
CREATE TABLE IF NOT EXISTS segments (
  name TEXT PRIMARY KEY, through_sequence INTEGER NOT NULL, digest TEXT NOT NULL, row_count INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL, first_id BLOB NOT NULL, last_id BLOB NOT NULL, min_event_time INTEGER NOT NULL,
  max_event_time INTEGER NOT NULL, manifest BLOB NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0,
  home TEXT NOT NULL DEFAULT '', pruning_id TEXT, pruned_at INTEGER, retention_days INTEGER,
  deleted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS segments_by_id ON segments (last_id, first_id);
CREATE INDEX IF NOT EXISTS segments_by_sequence ON segments (through_sequence);
CREATE TABLE IF NOT EXISTS intended (name TEXT PRIMARY KEY);
"""
ADDITIONS = {
    2: (
        # Where the segment lives: empty for beside the spool, else an address.
        "ALTER TABLE segments ADD COLUMN home TEXT NOT NULL DEFAULT ''",
        # From these on nothing of it is read any more (tombstones.py); the row stays, for it tells what an id was.
        "ALTER TABLE segments ADD COLUMN pruning_id TEXT",
        "ALTER TABLE segments ADD COLUMN pruned_at INTEGER",
        "ALTER TABLE segments ADD COLUMN retention_days INTEGER",
        "ALTER TABLE segments ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX IF NOT EXISTS segments_by_id ON segments (last_id, first_id)",
        # The segment that is being put into its home and does not count yet.
        "CREATE TABLE IF NOT EXISTS intended (name TEXT PRIMARY KEY)",
    ),
    3: (
        # Ids that are made in one call share their first 8 bytes. Where the batches that hold others are listed, the
        # batch of an id is found without a walk through all that came after it.
        "CREATE INDEX IF NOT EXISTS batches_wide ON batches (last_id, first_id) "
        "WHERE substr(first_id, 1, 8) <> substr(last_id, 1, 8)",
        # Every read asks up to where batches are sealed.
        "CREATE INDEX IF NOT EXISTS segments_by_sequence ON segments (through_sequence)",
    ),
    # AUTOINCREMENT gave the sequences before, at the price of a page a commit. A file that has it keeps it; who writes
    # on one without it must know where they come from.
    4: (),
}
