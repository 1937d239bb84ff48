import json
import os
import signal
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest

from align_contracts import open_artifact, space
from align_contracts.errors import ConfigError, DivergedError, InterruptedRun, KindError, PreflightError
from align_mlx import checkpoints
from align_mlx import steps as stepping
from align_mlx.adapters import Adapter
from align_mlx.chat import encode_prompt
from align_mlx.loading import load_policy
from align_mlx.reward import Scorer, load_scorer
from align_mlx.rollout import Draw, Prompt, prompt_number, sample
from align_mlx.train_state import TrainState
from align_rm import cli, train
from align_rm.calibrate import reward_scale
from align_rm.config import TrainConfig
from align_rm.pairs import Pairs, encode_pairs
from tiny.poison import explode_token, spoil_token


def test_defaults_are_the_study():
    config = TrainConfig(sft="s", data="d", out="o")
    assert (config.lora_rank, config.lora_alpha, config.learning_rate) == (8, 16.0, 1e-4)
    assert (config.batch_size, config.epochs, config.max_seq_length) == (8, 2, 1024)
    assert (config.margin, config.centering, config.split, config.backbone) == (0.0, 0.0, "train", "policy")


def test_the_published_model_ranks_what_it_was_taught(store):
    rm = open_artifact(store / "rm", kind="reward_model", deep=True)
    assert rm.details.pairwise_accuracy >= 0.95
    assert rm.metric("pairwise_accuracy", step=12) == rm.details.pairwise_accuracy
    assert [row["step"] for row in rm.read_jsonl("curve")] == [4, 8, 12]  # 64 pairs in batches of 16, 3 epochs
    assert (rm.details.adapter.rank, rm.details.adapter.layers, rm.details.max_length) == (8, 2, 64)
    assert {record.role for record in rm.manifest.inputs} == {"base", "policy", "dataset"}
    scorer = load_scorer(rm)
    kind, rude = scorer.score_texts(["w0 w1", "w0 w1"], ["w3 kind w2", "rude w3"])
    assert kind > rude


def test_a_fifth_of_wrong_labels_asks_for_a_temperature(store):
    """Calibration pairs are 20 % wrong, validation pairs are not: T grows with the margins, accuracy does not move."""
    rm = open_artifact(store / "rm")
    assert rm.details.temperature > 1.0
    assert 0.0 <= rm.details.ece_before <= 0.5


def test_the_reward_scale_is_that_of_sampled_answers(store, make_config):
    """Recomputed: the policy answers the calibration prompts at temperature 1, the published model scores them."""
    rm = open_artifact(store / "rm")
    scorer = load_scorer(rm)
    rows = open_artifact(store / "data").read_jsonl("prompts_calibration")
    prompts = [
        Prompt(encode_prompt(scorer.resident.tokenizer, r["prompt"]), prompt_number(r["prompt_id"])) for r in rows
    ]
    answers = sample(scorer.resident, (), prompts, draw=Draw(42), max_new_tokens=6)
    scores = scorer.score([answer.tokens for answer in answers])
    assert rm.details.calibration.n == len(rows) == 40
    assert rm.details.calibration.mean == pytest.approx(np.mean(scores), abs=1e-4)
    assert rm.details.calibration.std == pytest.approx(np.std(scores), abs=1e-4)
    assert rm.manifest.extensions["chosen_answers"]["n"] == 40


def test_a_policy_that_writes_scores_is_refused(make_config, store):
    with pytest.raises(KindError, match="genrm") as error:
        train.run(make_config(store / "no", sft=store / "sft-genrm"))
    assert error.value.exit_code == 3


def test_the_gold_split_and_the_base_as_backbone(make_config, store):
    train.run(make_config(store / "gold", split="gold", backbone="base", max_steps=2))
    rm = open_artifact(store / "gold")
    assert (rm.details.split, rm.details.backbone) == ("gold", "base")
    assert load_scorer(rm).resident.shared == ()


def test_the_reward_scale_is_that_of_sft_answers_on_the_bare_base_too(store, make_config):
    """The scorer stands on the base, but the answers are the SFT policy's: its adapter is not left out."""
    train.run(make_config(store / "bare", backbone="base", max_steps=4))
    rm = open_artifact(store / "bare")
    sft = load_policy(open_artifact(store / "sft"))
    rows = open_artifact(store / "data").read_jsonl("prompts_calibration")
    prompts = [Prompt(encode_prompt(sft.tokenizer, r["prompt"]), prompt_number(r["prompt_id"])) for r in rows]
    means = []
    for who in (sft, load_scorer(rm).resident):
        answers = sample(who, (), prompts, draw=Draw(42), max_new_tokens=6)
        means.append(np.mean(load_scorer(rm).score([a.tokens for a in answers])))
    assert rm.details.calibration.mean == pytest.approx(means[0], abs=1e-4)
    assert abs(means[0] - means[1]) > 1e-3  # the bare base answers otherwise


def test_prompts_without_room_for_an_answer_set_no_scale(store, make_config):
    """Like pairs, prompts have a limit: one of thousands of tokens would be sampled in one batch with the others."""
    scorer, sft = load_scorer(open_artifact(store / "rm")), open_artifact(store / "sft")
    rows = open_artifact(store / "data").read_jsonl("prompts_calibration")
    long = {"prompt_id": "long", "prompt": "w3 " * 60}
    config = make_config(store / "no")
    assert reward_scale(config, sft, scorer, [long, *rows]) == reward_scale(config, sft, scorer, rows)
    with pytest.raises(ConfigError, match="too few calibration prompts fit"):
        reward_scale(config, sft, scorer, [long, rows[0]])


def test_max_pairs_are_drawn_by_the_seed(resident, make_config, make_pairs, tmp_path):
    pairs = encode_pairs(make_pairs(20, 1), resident, 64)
    few = [train.chosen_pairs(make_config(tmp_path, max_pairs=5, seed=s), pairs) for s in (1, 1, 2)]
    assert [len(f) for f in few] == [5, 5, 5]
    assert few[0] == few[1] != few[2]
    assert train.chosen_pairs(make_config(tmp_path, max_pairs=50), pairs) == pairs.kept
    assert isinstance(pairs, Pairs)


def test_no_pair_fits(make_config, store):
    with pytest.raises(ConfigError, match="no train pair fits"):
        train.run(make_config(store / "no", max_seq_length=8))


@pytest.mark.parametrize("done", [1, 6])
def test_an_interrupted_run_continues_to_the_same_bytes(store, make_config, monkeypatch, done):
    """Stopped after 1 of 12 steps, before every tensor has had its gradient, and after 6."""
    config = make_config(store / f"again-{done}")
    update = TrainState.update

    def interrupt(self, *args):
        if self.iteration == done - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self, *args)

    monkeypatch.setattr(TrainState, "update", interrupt)
    with pytest.raises(InterruptedRun, match=f"stopped after {done} ") as error:
        train.run(config)
    assert error.value.exit_code == 130
    monkeypatch.undo()
    train.run(config)
    found, whole = open_artifact(config.out), open_artifact(store / "rm")
    assert found.details.certificate == whole.details.certificate
    assert found.content_digest == whole.content_digest


@pytest.mark.parametrize(("centering", "tensors"), [(0.0, 29), (0.01, 30)])
def test_the_run_certifies_that_every_tensor_learns(store, make_config, centering, tensors):
    """2 blocks of 7 maps with A and B, the head's weight, and its bias with centering.

    The head has its gradient in the first update, B behind a zero head in the second, A behind B = 0 in the third.
    """
    config = make_config(store / f"proved-{tensors}", centering=centering, max_steps=3)
    train.run(config)
    proved = open_artifact(config.out).details.certificate
    assert (proved.verdict, proved.tensors, proved.alive, proved.live_updates) == ("complete", tensors, tensors, 3)


def test_a_run_too_short_for_its_proof_says_so(store, make_config, capsys):
    train.run(make_config(store / "short", max_steps=2, quiet=False))
    proved = open_artifact(store / "short").details.certificate
    assert (proved.verdict, proved.alive, proved.live_updates) == ("incomplete", 15, 2)
    assert all(name.endswith("lora_a") for name in proved.waiting)
    assert "note: 14 of 29 trainable tensors had no gradient yet after 2 live updates" in capsys.readouterr().err


def test_a_dead_tensor_ends_the_run_with_exit_code_4(store, monkeypatch, capsys):
    """An adapter that is left out at one of its maps: nothing else would show it."""
    dead, pair = "model.layers.1.mlp.up_proj", Adapter.pair
    monkeypatch.setattr(Adapter, "pair", lambda self, path: None if path == dead else pair(self, path))
    paths = {"sft": store / "sft", "data": store / "data", "out": store / "dead"}
    flags = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    monkeypatch.setattr("sys.argv", ["align-rm", "train", *flags, "--learning-rate", "1e-2"])
    assert cli.main() == 4
    said = capsys.readouterr().err
    assert "no gradient has reached 2 of 29 trainable tensors: expected a non-zero gradient within 3 live" in said
    assert f"got none for {dead}.lora_a, {dead}.lora_b" in said
    assert not (store / "dead").exists()


def test_checkpointing_and_compile_give_the_same_model(store, make_config):
    arrays = []
    for name, more in (("plain", {"compile": False}), ("less", {"gradient_checkpointing": True})):
        train.run(make_config(store / name, max_steps=3, **more))
        scorer = load_scorer(open_artifact(store / name))
        arrays.append(scorer.head["weight"])
    np.testing.assert_allclose(np.array(arrays[0]), np.array(arrays[1]), rtol=1e-3, atol=1e-5)


def test_without_room_on_the_disk_nothing_is_written(make_config, store, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGN_STORE", str(store))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(PreflightError, match=r"out needs more disk .*the adapter .*checkpoints .*got 1000 B free"):
        train.run(make_config(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def spoilt(monkeypatch):
    """Let the backbone of the next run have a token that spoils or explodes, of one training pair's chosen answer.

    No validation pair holds it, so that training meets it first. Gives the numbers of the training pairs that hold it.
    """

    def prepare(store, how):
        honest = train.load
        data, sft = open_artifact(store / "data"), open_artifact(store / "sft")
        _, splits = honest(TrainConfig(sft=store / "sft", data=store / "data", out="o", max_seq_length=64), sft, data)
        pairs = splits["train"].kept
        token = pairs[5].chosen.response[0]

        def holds(pair):
            return token in pair.chosen.ids or token in pair.rejected.ids

        def load(*arguments):
            resident, splits = honest(*arguments)
            how(resident, token)
            sound = replace(splits["validation"], kept=[p for p in splits["validation"].kept if not holds(p)])
            return resident, {**splits, "validation": sound}

        monkeypatch.setattr(train, "load", load)
        return [i for i, pair in enumerate(pairs) if holds(pair)], pairs

    return prepare


@pytest.mark.parametrize(("how", "quantity"), [(spoil_token, "loss"), (explode_token, "gradient")])
def test_a_divergence_names_the_pairs_and_keeps_the_state_before(store, make_config, spoilt, how, quantity):
    held, pairs = spoilt(store, how)
    name = f"diverged-{quantity}"
    config = make_config(store / name)
    drawn = [stepping.rows_of(step, 64, 16, config.seed) for step in range(4)]
    step = next(i for i, rows in enumerate(drawn) if set(rows) & set(held))
    if quantity == "gradient":  # the head is 0 at first: no gradient reaches the trunk before the second step
        step = next(i for i, rows in enumerate(drawn) if i and set(rows) & set(held))
    with pytest.raises(DivergedError, match=f"the {quantity} is not finite at step {step + 1}") as caught:
        train.run(config)
    assert caught.value.exit_code == 4
    assert not (store / name).exists()
    folder = store / f".{name}.run"
    record = json.loads((folder / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    expected = [row for row in drawn[step] if row in held]
    assert [row["row"] for row in record["offending_rows"]] == expected
    assert [row["id"] for row in record["offending_rows"]] == [pairs[row].prompt_id for row in expected]
    assert checkpoints.numbered(folder / "checkpoints")[0].name == f"{step:06d}"


def test_pairs_left_out_are_counted_and_listed(store, make_config, monkeypatch):
    """Scores of 10³⁰⁰ and 0 are JSON numbers, and their gap is infinite in fp32: with a margin the loss is too."""
    honest = train.load

    def load(*arguments):
        resident, splits = honest(*arguments)
        kept = splits["train"].kept
        kept[7] = replace(kept[7], gap=1e300)
        return resident, splits

    monkeypatch.setattr(train, "load", load)
    config = make_config(store / "skipping", margin=0.01, epochs=2, skip_nonfinite_rows=1)
    train.run(config)
    art = open_artifact(store / "skipping", deep=True)
    (left,) = art.manifest.extensions["skipped_rows"]
    assert (left["row"], left["id"]) == (7, "1-7")
    assert 7 in stepping.rows_of(left["step"] - 1, 64, 16, config.seed)
    assert art.metric("skipped_rows") == 1
    with pytest.raises(DivergedError, match="1 of 16 rows: 1-7"):
        train.run(make_config(store / "stopping", margin=0.01, epochs=2))


def test_scores_that_are_no_numbers_stop_the_measurement(store, make_config, monkeypatch):
    """One answer of the validation pairs has no score: an accuracy would count it as ranked wrong."""
    honest = Scorer.score

    def score(self, rows, *world):
        scores = honest(self, rows)
        if len(rows) == 2 * 24:  # the 24 validation pairs
            scores[3] = np.nan
        return scores

    monkeypatch.setattr(Scorer, "score", score)
    with pytest.raises(DivergedError, match=r"the score is not finite at step 4 \(validation\): .*1 of 24 pairs: 3-3"):
        train.run(make_config(store / "unmeasured", skip_nonfinite_rows=9))
    assert (store / ".unmeasured.run" / "diagnosis.json").exists()
    assert not (store / "unmeasured").exists()
