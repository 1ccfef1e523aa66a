"""From rows to an artifact: snapshots.py (rows as promised), artifacts.py (what will serve), parity.py (whether the
compiled form may), reproducible.py (the same content, the same bytes). The trainers themselves are the models' own."""
