"""What tests of several packages share, at unit-test size: chat templates, tokenizers, models, stores, rows.

Import the modules (``from tiny.models import make_model``): each needs only what it names, and not every package's
environment has MLX.
"""
