"""One module a topic; each has ``ROWS: tuple[Row, ...]`` and is found by being here."""
