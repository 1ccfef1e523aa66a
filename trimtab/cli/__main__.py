"""``python -m trimtab.cli``: the command without its script."""

from trimtab.cli import main

main()
