"""Adapters out and in: mlx-lm's own loader has our logits, what comes back is the policy, strangers are refused."""

import json
import shutil

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from align_contracts import open_artifact, publish
from align_contracts.errors import KindError, MissingError, PreflightError, VerificationError
from align_mlx import adapters as lora
from align_mlx.adapters import LoraSpec
from align_mlx.compute import Compute
from align_mlx.loading import base_maps, load_base, load_policy
from align_sft import base as base_stage
from align_sft import export, import_adapter, merge
from align_sft.config import BaseConfig, ExportConfig, ImportConfig, MergeConfig
from tiny.stores import adapter_entry, random_adapter

EXACT = Compute(mx.float32, dense=True)
IDS = mx.array([[2, 7, 8, 9, 30, 40, 50, 60, 70]])


@pytest.fixture(scope="module")
def policy(store):
    """SFT's adapter (rank 4, all blocks) under one of rank 3 on two maps of the last block, as RL leaves them."""
    sft = open_artifact(store / "sft")
    base = sft.input("base")
    second = random_adapter(base_maps(base.path), 5, LoraSpec(3, 1.5, 1, ("q_proj", "down_proj")), size=0.4)
    with publish(store / "rl", "policy", producer="align-sft", config={}, inputs={"base": base}) as draft:
        shutil.copyfile(sft.file("adapter"), draft.file("sft.safetensors", role="adapter_sft"))
        lora.save(second, draft.file("adapter.safetensors", role="adapter"))
        first = {**sft.details.adapters[0].model_dump(), "file": "sft.safetensors"}
        entries = [first, adapter_entry(second, "policy")]
        draft.details = {"method": "grpo", "form": "residual", "format": "chosen", "adapters": entries, "seed": 1}
    return open_artifact(store / "rl")


@pytest.fixture(scope="module")
def exported(store, policy):
    for form in ("mlx-lm", "peft"):
        export.run(ExportConfig(policy=policy.path, format=form, out=store / f"rl-{form}", quiet=True))
    return lambda form: store / f"rl-{form}"


def logits(policy):
    resident = load_policy(policy, EXACT)
    return np.array(resident.logits(resident.hidden(IDS)))


def test_mlx_lm_loads_the_export_on_the_same_base_with_our_logits(store, policy, exported):
    model, _ = mlx_lm.load(str(store / "base"), adapter_path=str(exported("mlx-lm")))
    model.set_dtype(mx.float32)
    plain = load_base(store / "base", EXACT)
    ours, bare = logits(policy), np.array(plain.logits(plain.hidden(IDS)))
    np.testing.assert_allclose(np.array(model(IDS)), ours, atol=2e-5 * np.abs(ours).max())
    assert np.abs(ours - bare).max() > 0.02 * np.abs(ours).max()  # the adapters do something


@pytest.mark.parametrize("form", ["mlx-lm", "peft"])
def test_what_was_exported_comes_back_as_the_same_policy(store, policy, exported, form):
    out = store / f"back-{form}"
    import_adapter.run(ImportConfig(adapter=exported(form), base=store / "base", out=out, quiet=True))
    back = open_artifact(out, kind="policy", deep=True)
    assert [a.rank for a in back.details.adapters] == [7]  # 4 + 3
    assert back.manifest.extensions["imported"]["exported_from"]["content_digest"] == policy.content_digest
    np.testing.assert_allclose(logits(back), logits(policy), atol=2e-5 * np.abs(logits(policy)).max())
    assert back.input("base").content_digest == policy.input("base").content_digest


def test_a_single_adapter_leaves_and_returns_bit_by_bit(store):
    export.run(ExportConfig(policy=store / "sft", format="peft", out=store / "sft-peft", quiet=True))
    import_adapter.run(
        ImportConfig(adapter=store / "sft-peft", base=store / "base", out=store / "sft-back", quiet=True)
    )
    was, now = (lora.load(store / name / "adapter.safetensors")[0] for name in ("sft", "sft-back"))
    assert was.scale == now.scale
    assert all(mx.array_equal(was.params[name], now.params[name]) for name in was.params)
    was_entry, now_entry = (open_artifact(store / name).details.adapters[0] for name in ("sft", "sft-back"))
    assert (was_entry.rank, was_entry.alpha, was_entry.layers, was_entry.targets) == (
        *(now_entry.rank, now_entry.alpha, now_entry.layers, now_entry.targets),
    )


def test_an_export_is_whole_and_is_never_written_over_other_files(store, policy, tmp_path):
    config = ExportConfig(policy=policy.path, out=tmp_path / "out", quiet=True)
    export.run(config)
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    names = {"adapter_config.json", "adapters.safetensors", "README.md", "align-export.json"}
    assert {p.name for p in config.out.iterdir()} == names
    with pytest.raises(PreflightError, match="exists"):
        export.run(config)
    export.run(config.model_copy(update={"overwrite": True, "format": "peft"}))
    assert (config.out / "adapter_model.safetensors").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(PreflightError, match="left alone"):
        export.run(config.model_copy(update={"out": tmp_path / "mine", "overwrite": True}))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_merged_policy_has_no_adapter_to_export(store):
    merge.run(MergeConfig(policy=store / "sft", bits=0, out=store / "whole", quiet=True))
    with pytest.raises(KindError, match="is merged"):
        export.run(ExportConfig(policy=store / "whole", out=store / "nothing"))
    assert not (store / "nothing").exists()


@pytest.fixture
def foreign(exported, tmp_path):
    """A PEFT adapter without our record, as another program would have saved it; a function changes its config."""
    folder = tmp_path / "foreign"
    shutil.copytree(exported("peft"), folder)
    (folder / "align-export.json").unlink()

    def change(**changes):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return folder

    return change


def take(folder, store, tmp_path):
    return import_adapter.run(ImportConfig(adapter=folder, base=store / "base", out=tmp_path / "in", quiet=True))


def test_a_stranger_s_adapter_is_taken(store, foreign, tmp_path, policy, monkeypatch):
    monkeypatch.setenv("ALIGN_STORE", str(store))
    take(foreign(base_model_name_or_path="/home/somebody/gemma"), store, tmp_path)
    np.testing.assert_allclose(logits(open_artifact(tmp_path / "in")), logits(policy), atol=1e-3)


def test_another_base_is_refused_unless_forced(store, exported, tmp_path):
    base_stage.run(BaseConfig(model=str(store / "base"), bits=0, out=tmp_path / "dense", quiet=True))
    config = ImportConfig(adapter=exported("peft"), base=tmp_path / "dense", out=tmp_path / "in", quiet=True)
    with pytest.raises(VerificationError, match="exported from another base: expected base base"):
        import_adapter.run(config)
    assert not config.out.exists()
    import_adapter.run(config.model_copy(update={"force": True}))
    assert open_artifact(config.out).details.adapters[0].rank == 7


@pytest.mark.parametrize(
    ("source", "claimed", "fits"),
    [
        ("hf:google/gemma-2b-it", "google/gemma-2b-it", True),
        ("hf:google/gemma-2b-it", "google/gemma-2b", False),
        ("hf:google/gemma-2b-it", "/models/gemma", True),
        ("hf:google/gemma-2b-it", None, True),
        ("local:gemma", "google/gemma-2b", True),
    ],
)
def test_names_of_the_hub_are_compared(store, source, claimed, fits):
    base = open_artifact(store / "base")
    named = base.details.model_copy(update={"source": source})
    object.__setattr__(base, "manifest", base.manifest.model_copy(update={"details": named}))
    if fits:
        import_adapter.require_same_base(base, claimed, None, "x")
    else:
        with pytest.raises(VerificationError, match="belongs to another base"):
            import_adapter.require_same_base(base, claimed, None, "x")


def test_damaged_files_are_refused_and_nothing_is_published(store, foreign, exported, tmp_path):
    folder = foreign()
    tensors = load_file(folder / "adapter_model.safetensors")
    first = sorted(tensors)[0]
    for bad in ({**tensors, first: np.full_like(tensors[first], np.nan)}, {**tensors, first: tensors[first][:, :-1]}):
        save_file({k: np.ascontiguousarray(v) for k, v in bad.items()}, folder / "adapter_model.safetensors")
        with pytest.raises(VerificationError):
            take(folder, store, tmp_path)
    (folder / "adapter_model.safetensors").write_bytes(b"\x80\x02 no safetensors at all")
    with pytest.raises(VerificationError):
        take(folder, store, tmp_path)
    (folder / "adapter_config.json").write_text("[1]")
    with pytest.raises(VerificationError, match="a JSON object"):
        take(folder, store, tmp_path)
    with pytest.raises(MissingError, match="holds no adapter"):
        take(tmp_path, store, tmp_path)
    changed = tmp_path / "changed"
    shutil.copytree(exported("mlx-lm"), changed)
    with (changed / "adapter_config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(VerificationError, match="not the file that was exported"):
        take(changed, store, tmp_path)
    assert not (tmp_path / "in").exists()
