"""How a process knows that it is one of several, by the variables of MLX's launcher, Open MPI, and MPICH or Slurm."""

import pytest

from align_contracts.errors import ConfigError
from align_contracts.launcher import SIZES, Place, launched, require_alone


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*SIZES, *SIZES.values(), "MLX_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({}, None),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, None),  # srun -n 1
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}, None),  # mpirun -n 1
        ({"MLX_RANK": "0", "MLX_WORLD_SIZE": "1"}, None),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Place("PMI_RANK", "1")),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, Place("OMPI_COMM_WORLD_RANK", "0")),
        ({"MLX_RANK": "1", "MLX_WORLD_SIZE": "8"}, Place("MLX_RANK", "1")),
        ({"MLX_RANK": "1"}, Place("MLX_RANK", "1")),  # nothing says how many
        ({"PMI_RANK": "0", "PMI_SIZE": "many"}, Place("PMI_RANK", "0")),
        ({"MLX_RANK": "1", "PMI_RANK": "0", "PMI_SIZE": "1"}, Place("MLX_RANK", "1")),  # mlx.launch within srun -n 1
        ({"PMI_SIZE": "2"}, None),
    ],
)
def test_the_place_that_a_launcher_gave(env, place, monkeypatch):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert launched() == place


@pytest.mark.parametrize(("hosts", "alone"), [("", True), ('[["127.0.0.1:1"], ["127.0.0.1:2"]]', False)])
def test_mlx_s_launcher_gives_no_hosts_to_a_single_process(hosts, alone, tmp_path, monkeypatch):
    (tmp_path / "hosts").write_text(hosts)
    monkeypatch.setenv("MLX_RANK", "0")
    monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "hosts"))
    assert (launched() is None) == alone


def test_the_refusal_names_the_variable_and_says_how_to_unset_it(monkeypatch):
    require_alone("align-x build")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    with pytest.raises(ConfigError, match=r"align-x build is not data-parallel.*env -u OMPI_COMM_WORLD_RANK"):
        require_alone("align-x build")
