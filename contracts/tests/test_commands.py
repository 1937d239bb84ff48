import json
import shutil

import pytest

from align_contracts.cli import main


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the console script: (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["align-contracts", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.usefixtures("deep")
def test_validate_a_directory(cli, finished_run):
    code, out, err = cli("validate", "--deep", finished_run)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 9
    assert all(line.startswith("ok  deep  ") for line in out.splitlines())


@pytest.mark.parametrize("file", ["manifest.json", "manifest.sha256", "adapter.safetensors", "config.json"])
@pytest.mark.usefixtures("deep")
def test_validate_names_the_changed_file_in_one_message(cli, run, file):
    path = run / "sft" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, out, err = cli("validate", "--deep", run)
    assert code == 3
    assert len(out.splitlines()) == 8  # the others are still checked
    assert len(err.splitlines()) == 1
    assert err.startswith("error: sft/")
    assert file in err


def test_validate_counts_a_path_once(cli, finished_run):
    assert len(cli("validate", finished_run, finished_run / "sft")[1].splitlines()) == 9


def test_validate_without_an_artifact(cli, tmp_path):
    assert cli("validate", tmp_path / "absent")[0] == 2
    code, _, err = cli("validate", tmp_path)
    assert code == 2
    assert "no artifact here" in err
    assert cli("validate")[0] == 2


def test_validate_deep_without_the_extra(cli, finished_run, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr("align_contracts.verify._import", absent)
    code, _, err = cli("validate", "--deep", finished_run / "sft")
    assert code == 2
    assert "Install align-contracts[deep]" in err


@pytest.mark.usefixtures("deep")
def test_validate_as_json_tells_failures_too(cli, run):
    (run / "sft" / "config.json").unlink()
    code, out, err = cli("validate", "--deep", "--json", run / "data", run / "sft")
    good, bad = map(json.loads, out.splitlines())
    manifest = json.loads((run / "data" / "manifest.json").read_bytes())
    assert code == 3
    assert good == {
        "path": str(run / "data"),
        "ok": True,
        "deep": True,
        "kind": "dataset",
        "bytes": sum(record["size"] for record in manifest["files"]),
        "content_digest": manifest["content_digest"],
        "manifest_digest": (run / "data" / "manifest.sha256").read_text()[:64],
    }
    assert (bad["path"], bad["ok"]) == (str(run / "sft"), False)
    assert err == f"error: {bad['error']}\n"
    assert bad["error"].startswith("sft/config.json: missing")


def test_inspect(cli, finished_run):
    code, out, _ = cli("inspect", finished_run / "ppo-42")
    assert code == 0
    assert out.startswith("ppo-42: policy, ")
    for text in ("method", "ppo", "licence gemma", "base (base_model, ", "perplexity @50", "2 tensors", "config.json"):
        assert text in out


def test_inspect_json_is_the_manifest(cli, finished_run):
    code, out, _ = cli("inspect", "--json", finished_run / "rm")
    assert code == 0
    assert json.loads(out) == json.loads((finished_run / "rm" / "manifest.json").read_bytes())


def test_inspect_prints_no_escape_sequences(cli, tmp_path, make):
    make(tmp_path / "x", "dataset", source="\x1b]0;owned\x07")
    _, out, _ = cli("inspect", tmp_path / "x")
    assert "\x1b" not in out
    assert r"\x1b]0;owned\x07" in out


def test_lineage(cli, finished_run):
    code, out, _ = cli("lineage", finished_run)
    assert code == 0
    assert out.splitlines()[-1] == "9 artifacts: closed, no cycle, one base, one tokenizer"
    assert "└─ base" in out
    assert [line.rpartition("  ")[2] for line in out.splitlines()[:2]] == ["licence: MIT", "licence: gemma"]


def test_lineage_of_data_alone_speaks_of_no_base(cli, finished_run):
    assert cli("lineage", finished_run / "data")[1].splitlines()[-1] == "1 artifact: closed, no cycle"


def test_an_input_that_is_damaged_is_one_problem_however_many_need_it(cli, run):
    with (run / "data" / "rows.jsonl").open("a") as file:
        file.write("more")
    code, _, err = cli("lineage", run)
    assert code == 3
    assert err.count("data/rows.jsonl: size") == 1


def test_lineage_as_json(cli, run):
    shutil.rmtree(run / "rm")
    code, out, err = cli("lineage", "--json", run / "ppo-42")
    found = json.loads(out)
    by_name = {one["name"]: one for one in found["artifacts"]}
    assert code == 3
    assert len(found["problems"]) == 1
    assert found["problems"][0] in err
    assert set(by_name) == {"data", "base", "sft", "ppo-42"}
    assert {name: one["licence"] for name, one in by_name.items() if one["licence"]} == {"data": "MIT", "base": "gemma"}
    assert (by_name["ppo-42"]["kind"], by_name["ppo-42"]["method"]) == ("policy", "ppo")
    assert {one["role"]: one["found"] for one in by_name["ppo-42"]["inputs"]} == {
        "base": True,
        "dataset": True,
        "policy": True,
        "reward_model": False,
    }


def test_env(cli):
    code, out, err = cli("env")
    assert (code, err) == (0, "")
    assert out.startswith("align-contracts ")
    assert json.loads(cli("env", "--json")[1])["schema"] == "1.3"


def test_lineage_that_does_not_hold(cli, run):
    shutil.rmtree(run / "data")
    code, out, err = cli("lineage", run / "rm")
    assert code == 3
    assert "(missing: dataset data)" in out
    assert "error: the lineage does not hold:" in err


def test_schema(cli, tmp_path):
    code, out, _ = cli("schema", "policy")
    assert code == 0
    assert json.loads(out)["properties"]["kind"]["const"] == "policy"
    assert cli("schema", "--check", tmp_path)[0] == 3
    assert cli("schema", "--out", tmp_path)[0] == 0
    assert cli("schema", "--check", tmp_path)[0] == 0
    assert cli("schema")[0] == 2
    assert cli("schema", "--check", tmp_path, "--out", tmp_path)[0] == 2
    assert cli("schema", "poem")[0] == 2


def test_help_and_mistakes(cli):
    for arguments in (("--help",), ("validate", "--help"), ("--version",)):
        assert cli(*arguments)[0] == 0
    code, _, err = cli("validat", "x")
    assert code == 2
    assert "validate" in err
    assert cli("validate", "--deeep", "x")[0] == 2
