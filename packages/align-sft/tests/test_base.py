import json
import shutil
from collections import namedtuple

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest

from align_contracts import open_artifact, space
from align_contracts.errors import ConfigError, DivergedError, MissingError, PreflightError, VerificationError
from align_sft import base, merge, pretrain, train
from align_sft.config import BaseConfig, MergeConfig
from tiny.poison import spoil_array


def test_the_embedded_base_is_a_whole_model(store, base_config):
    art = open_artifact(store / "base", kind="base_model", deep=True)
    assert art.details.embedded
    assert art.details.source == "embedded"
    assert (art.details.quantization.bits, art.details.quantization.group_size) == (4, 32)
    assert (art.details.hidden_size, art.details.num_layers) == (32, 2)
    assert art.input("dataset").name == "data"
    assert art.manifest.tokenizer_digest is not None
    assert art.manifest.chat_template_digest is not None
    assert art.read_jsonl("log")[-1]["step"] == base_config["steps"]
    model, tokenizer = mlx_lm.load(str(art.path))
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "the fox"}], add_generation_prompt=True)
    assert mx.isfinite(model(mx.array([ids]))).all().item()


def plain_directory(store, path, **changes):
    """The toy base as somebody's model directory: no manifest, other names in the config."""
    base.run(BaseConfig(model=str(store / "base"), bits=0, out=path.parent / "dense", overwrite=True))
    shutil.copytree(path.parent / "dense", path, ignore=shutil.ignore_patterns("manifest.*"))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "_name_or_path": "/home/me/secret", **changes}))
    return path


def test_import_keeps_the_numbers(store, tmp_path):
    folder = plain_directory(store, tmp_path / "mine")
    base.run(BaseConfig(model=str(folder), bits=0, out=tmp_path / "again"))
    art = open_artifact(tmp_path / "again", deep=True)
    assert (art.details.source, art.details.embedded, art.details.quantization) == ("local:mine", False, None)
    assert "secret" not in art.file("config").read_text()
    before, after = (mx.load(str(path / "model.safetensors")) for path in (folder, art.path))
    assert all(mx.array_equal(after[name], value) for name, value in before.items())
    base.run(BaseConfig(model=str(folder), bits=8, group_size=32, out=tmp_path / "eight"))
    models = [mlx_lm.load(str(tmp_path / name)) for name in ("again", "eight")]
    assert models[0][1].encode("the fox") == models[1][1].encode("the fox")
    logits = [np.array(model(mx.array([[2, 7, 8]])).astype(mx.float32)) for model, _ in models]
    np.testing.assert_allclose(logits[0], logits[1], atol=0.1 * np.abs(logits[0]).max())


def test_a_model_without_chat_template_is_refused(store, tmp_path):
    folder = plain_directory(store, tmp_path / "mine")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="chat template"):
        base.run(BaseConfig(model=str(folder), out=tmp_path / "again", group_size=32))
    assert not (tmp_path / "again").exists()


def test_float16_is_stored_as_bf16_with_a_note(store, tmp_path, capsys):
    folder = plain_directory(store, tmp_path / "mine", torch_dtype="float16")
    base.run(BaseConfig(model=str(folder), bits=0, out=tmp_path / "again"))
    assert "bfloat16" in capsys.readouterr().err
    assert json.loads((tmp_path / "again" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_what_is_no_model_is_missing(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="holds no model"):
        base.run(BaseConfig(model=str(tmp_path / "empty"), out=tmp_path / "o"))
    with pytest.raises(ConfigError, match="revision"):
        base.run(BaseConfig(model=str(tmp_path / "empty"), revision="main", out=tmp_path / "o"))

    def offline(*args, **kw):
        raise OSError("cannot reach the hub\nlong story")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(PreflightError, match="cannot reach the hub") as error:
        base.run(BaseConfig(model="google/no-such", out=tmp_path / "o"))
    assert "long story" not in str(error.value)


def test_a_hub_model_is_named_with_its_revision(store, tmp_path, monkeypatch):
    folder, asked = tmp_path / "models--maker--model" / "snapshots" / "0a1b2c", {}
    folder.parent.mkdir(parents=True)
    plain_directory(store, folder)
    (folder / "README.md").write_text("---\ntags: [a]\nlicense: gemma\n---\n# Model\n")

    def download(name, revision, **wanted):
        asked.update(name=name, revision=revision)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    base.run(BaseConfig(model="maker/model", revision="abc", bits=0, out=tmp_path / "o"))
    art = open_artifact(tmp_path / "o")
    assert asked == {"name": "maker/model", "revision": "abc"}
    assert (art.details.source, art.details.license, art.details.revision) == ("hf:maker/model", "gemma", "0a1b2c")


def test_a_model_without_a_licence_is_told_and_can_be_given_one(store, tmp_path, capsys):
    folder = plain_directory(store, tmp_path / "mine")
    base.run(BaseConfig(model=str(folder), bits=0, out=tmp_path / "a"))
    warned = capsys.readouterr().err
    assert "warning: the model card of local:mine states no licence; --license names it\n" in warned
    base.run(BaseConfig(model=str(folder), bits=0, out=tmp_path / "b", license="MIT"))
    assert "warning" not in capsys.readouterr().err
    details = [open_artifact(tmp_path / name).details for name in "ab"]
    assert [(one.license, one.revision) for one in details] == [(None, None), ("MIT", None)]


def test_an_artifact_made_into_a_base_again_keeps_source_revision_and_licence(store, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "models--maker--model" / "snapshots" / "0a1b2c"
    folder.parent.mkdir(parents=True)
    (plain_directory(store, folder) / "README.md").write_text("---\nlicense: gemma\n---\n")
    capsys.readouterr()
    base.run(BaseConfig(model=str(folder), bits=0, out=tmp_path / "first"))
    base.run(BaseConfig(model=str(tmp_path / "first"), bits=8, group_size=32, out=tmp_path / "again"))
    first, again = (open_artifact(tmp_path / name) for name in ("first", "again"))
    for one in (first, again):
        assert (one.details.source, one.details.license, one.details.revision) == ("hf:maker/model", "gemma", "0a1b2c")
    assert again.manifest.extensions["imported"]["content_digest"] == first.content_digest
    assert "imported" not in first.manifest.extensions
    assert "licence" not in capsys.readouterr().err
    base.run(BaseConfig(model=str(store / "base"), bits=0, out=tmp_path / "own"))
    own, before = open_artifact(tmp_path / "own").details, open_artifact(store / "base").details
    assert (own.source, own.embedded, own.license) == (before.source, before.embedded, before.license)


@pytest.mark.parametrize("model", ["/no/such/model", "./nothing", "../nothing", "~/nothing"])
def test_a_path_that_is_not_there_is_not_asked_of_the_hub(model):
    with pytest.raises(MissingError, match=f"no directory {model}"):
        base.locate(model, None)


def spoil(folder, name, value):
    """Put one element that is not finite into a tensor of a model directory."""
    file = folder / "model.safetensors"
    arrays = dict(mx.load(str(file)))
    mx.eval(arrays)
    arrays[name] = spoil_array(arrays[name], value)
    mx.save_safetensors(str(folder / "new.safetensors"), arrays, metadata={"format": "mlx"})
    (folder / "new.safetensors").replace(file)


@pytest.mark.parametrize("bits", [0, 4])
@pytest.mark.parametrize(("value", "kind"), [(float("nan"), "NaN"), (float("inf"), "inf")])
@pytest.mark.parametrize(("name", "size"), [("model.layers.1.mlp.down_proj.weight", 2048), ("model.norm.weight", 32)])
def test_weights_that_are_not_finite_are_refused_by_name(store, tmp_path, bits, value, kind, name, size):
    """Quantizing would turn a NaN into some code, and infinity into a scale that spoils its whole group."""
    folder = plain_directory(store, tmp_path / "mine")
    spoil(folder, name, value)
    with pytest.raises(VerificationError, match=name) as caught:
        base.run(BaseConfig(model=str(folder), bits=bits, group_size=32, out=tmp_path / "o"))
    assert caught.value.exit_code == 3
    assert caught.value.got == f"{name} (1 {kind} of {size})"
    assert not (tmp_path / "o").exists()


def test_weights_that_only_overflow_in_bf16_are_refused(store, tmp_path):
    """3.4e38 is an fp32 number; the nearest of bf16 is infinity."""
    folder = plain_directory(store, tmp_path / "mine")
    arrays = {name: array.astype(mx.float32) for name, array in mx.load(str(folder / "model.safetensors")).items()}
    arrays["model.norm.weight"] = spoil_array(arrays["model.norm.weight"], 3.4e38)
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "mlx"})
    with pytest.raises(VerificationError, match=r"model\.norm\.weight \(1 inf of 32\)"):
        base.run(BaseConfig(model=str(folder), bits=0, out=tmp_path / "o"))
    assert not (tmp_path / "o").exists()


def test_pretraining_that_diverges_publishes_nothing(store, base_config, tmp_path, monkeypatch):
    honest = pretrain.next_token_loss
    monkeypatch.setattr(pretrain, "next_token_loss", lambda *args: honest(*args) * float("nan"))
    with pytest.raises(DivergedError, match="not finite"):
        base.run(BaseConfig(embedded=True, data=store / "data", out=tmp_path / "o", **base_config))
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", ["base", "train", "merge"])
def test_without_room_on_the_disk_nothing_is_written(command, store, tmp_path, make_config, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    monkeypatch.setenv("ALIGN_STORE", str(store))
    out = tmp_path / "out"
    run = {
        "base": lambda: base.run(BaseConfig(model=str(store / "base"), bits=0, out=out)),
        "train": lambda: train.run(make_config(out)),
        "merge": lambda: merge.run(MergeConfig(policy=store / "sft", out=out)),
    }[command]
    with pytest.raises(PreflightError, match=r"out needs more disk than there is: .*got 1000 B free"):
        run()
    assert not out.exists()
