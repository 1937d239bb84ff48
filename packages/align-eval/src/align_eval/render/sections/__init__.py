"""What the report says, a section a file; each turns a part of report.json into blocks."""
