"""The documents, held to the code: every example runs, every name and message exists, what is generated is current."""
