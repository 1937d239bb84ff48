import subprocess
import sys


def test_the_core_loads_neither_mlx_nor_numpy_nor_safetensors():
    code = (
        "import align_contracts, align_contracts.cli, align_contracts.commands, sys;"
        "print(sorted({'mlx', 'numpy', 'safetensors', 'rich'} & {n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_everything_exported_is_there():
    import align_contracts

    assert all(hasattr(align_contracts, name) for name in align_contracts.__all__)


def test_the_package_runs_as_a_module(tmp_path):
    # `nox -s validate` calls it so: a path that is not there must not pass as valid (exit code 2).
    ran = subprocess.run([sys.executable, "-m", "align_contracts", "validate", str(tmp_path / "no")], check=False)
    assert ran.returncode == 2
