"""The colours by which rulings are told apart in pictures and on pages."""

from __future__ import annotations

from trimtab.records import Action

ACTION_COLOURS = {
    Action.BLOCK: "#7b2d8b",
    Action.ROLLBACK: "#b5651d",
    Action.RETRAIN: "#c0392b",
    Action.ALERT: "#e0a100",
    Action.NONE: "#3b7d4f",
}
