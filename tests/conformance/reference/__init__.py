"""What the papers say, in float64 NumPy: the oracle of the conformance suite.

One sequence at a time, lists instead of padded arrays, definitions instead of recursions, no gradients (those come from
`finite_differences`). Nothing here imports the implementation, and nothing is written to be fast.
"""
