"""The whole chain by a recipe: data, base, sft, rm, every RL run, responses, judgments, report.

Started by ``uv run nox -s pipeline``. Each step is one process of one console script, and nothing but artifacts
passes between steps. ``chain`` says which steps there are, ``plan`` what each is called with and whether its
artifact is already there, ``processes`` runs them.
"""
