"""`align-rl watch`: runs seen live from their logs, on a terminal and as a page. It reads and never writes there."""
