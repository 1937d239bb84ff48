"""Pure functions of supervised fine-tuning: arrays in, arrays out."""
