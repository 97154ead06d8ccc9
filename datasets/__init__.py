"""Data sets as users hold them: layouts, splits, laundering, audits, cards."""
