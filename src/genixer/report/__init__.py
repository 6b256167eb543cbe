"""The report: one page for people, the same as text, and a card beside the kept rows."""
