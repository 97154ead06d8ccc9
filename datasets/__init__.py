"""Data sets as users hold them: layouts, splits, laundering, cards. Not part of this version yet."""
