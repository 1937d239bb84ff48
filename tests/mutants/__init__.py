"""Classic bugs, planted one at a time, and the conformance suite that has to find each: ``nox -s mutants``."""
