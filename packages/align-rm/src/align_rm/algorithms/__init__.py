"""Pure functions of reward modelling: arrays in, arrays out."""
