"""What else judges drift: a folder each, with its pins and its ``judge.py``, which prints one line of JSON."""
