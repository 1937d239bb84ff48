"""The report for people: sentences, tables, charts, Markdown and PDF, all from the one JSON document."""
