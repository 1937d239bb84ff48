"""Pure statistics of the comparison: numbers in, numbers out; no files, no settings, no logging."""
