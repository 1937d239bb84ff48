"""How much of the code that must not fail its tests run through: every branch of it, measured."""
