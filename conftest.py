"""Marked tests (slow, shared, gpu, network) run only when ``-m`` names their mark; the others say why not."""

import contextlib

import pytest

with contextlib.suppress(ModuleNotFoundError):  # the packages that need no MLX are also tested where there is none
    import align_mlx  # noqa: F401  (before any test imports mlx.core, which would then keep its reference BLAS)

REASONS = {
    "slow": "takes minutes: run with -m slow",
    "shared": "needs development models and data: run with -m shared",
    "gpu": "needs an accelerator: run with -m gpu",
    "network": "needs the network: run with -m network",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.option.markexpr
    for item in items:
        for mark, reason in REASONS.items():
            if item.get_closest_marker(mark) and mark not in asked:  # keywords hold the names of folders too
                item.add_marker(pytest.mark.skip(reason=reason))
