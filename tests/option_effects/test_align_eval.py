"""Every option of align-eval has its effect; endpoints are real servers on loopback."""

import json
import operator
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from option_effects.effects import (
    Effect,
    Outcome,
    Place,
    Runs,
    Table,
    at,
    check,
    column,
    decodings,
    detail,
    finished,
    inputs,
    inside,
    named,
    number_format,
    published,
    quantized,
    refusal,
    silent,
    widest,
)
from option_effects.test_align_rl import SMALL as RL

from align_contracts.errors import IncompleteError
from align_eval import compare, importing, judge, plan, respond, summarize, sweep
from align_eval.algorithms.length_control import ALPACA_EVAL_2
from align_eval.config import (
    CompareConfig,
    ImportConfig,
    JudgeConfig,
    PlanConfig,
    RespondConfig,
    SummarizeConfig,
    SweepConfig,
)
from align_eval.judges.prompt import PROBE_TEXT
from align_eval.preferences import prior_of
from align_rl.config import GRPOConfig, PPOConfig
from align_rl.run import run as train

sys.path.insert(0, str(Path(__file__).parents[2] / "packages" / "align-eval" / "tests"))

import annotations
from chat_server import ChatServer, completion, verdict


def first_tokens(o: Outcome) -> dict[str, int]:
    return {"tokens": [row[0] for row in o.column("tokens", "responses")]}


RESPOND = Table(
    RespondConfig,
    respond.run,
    {"policy": at("sft"), "data": at("data"), "rm": at("rm"), "max_new_tokens": 8, "quiet": True},
    {
        "policy": Effect(at("sft-other"), column("response", "responses")),
        "data": Effect(at("data-other"), column("prompt", "responses")),
        "rm": Effect(None, column("reward", "responses"), want=[None] * 6),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "split": Effect("validation", detail("prompts"), want=8),
        "temperature": Effect(0.0, column("response", "responses")),
        "max_prompt_length": Effect(8, refusal, want="ConfigError"),
        "max_new_tokens": Effect(3, decodings, moves=operator.lt),
        "sampling_seed": Effect(1, column("response", "responses")),
        "compute_form": Effect("quantized", quantized, given={"compute_form": "dense"}, want={True}, same=first_tokens),
        "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
        "rollout_rows": Effect(2, widest, want=2, same=first_tokens),
    },
)

Reply = Callable[[str, int], Any]
SERVERS: dict[str, ChatServer] = {}


def endpoint(reply: Reply) -> Callable[[Place], str]:
    """The URL of a server of its own for every run."""

    def url(_: Place) -> str:
        server = ChatServer(reply)
        SERVERS[server.url] = server
        return server.url

    return named(url, reply.__name__)


def server(o: Outcome) -> ChatServer:
    return SERVERS[o.settings["base_url"]]


def asked(name: str) -> Callable[[Outcome], Any]:
    """What the requests say about one of their fields."""
    return lambda o: {str(body.get(name)) for body in server(o).bodies}


def probes(o: Outcome) -> int:
    """How often the endpoint was tried before it was asked."""
    return server(o).asked[PROBE_TEXT]


def prefers_the_first(text: str, before: int) -> Any:
    return completion("It is.\nVerdict: A") if "Verdict: A" in text else verdict("A")


def always_ties(text: str, before: int) -> Any:
    return verdict("tie")


def slow(text: str, before: int) -> Any:
    time.sleep(0.15)
    return verdict("A")


def busy_at_first(text: str, before: int) -> Any:
    return verdict("A") if before else (503, b"busy", {"retry-after": "0.01"})


def unclear_at_first(text: str, before: int) -> Any:
    return verdict("A") if before else completion("no idea")


def judged_in_vain(run: Callable[[Any], int], config: Any) -> None:
    """The same judging, done before with unusable replies."""
    with pytest.raises(IncompleteError):
        run(config)


def openai(reply: Reply = prefers_the_first, **more: Any) -> dict[str, Any]:
    return {"judge": "openai:m", "base_url": endpoint(reply), "cache": inside("replies.sqlite3"), **more}


PRICED = {"max_cost_usd": 1.0, "price_input_usd": 0.0, "price_output_usd": 0.0}
TOO_DEAR = 1e6
"""USD per million tokens: one for every token."""

JUDGE = Table(
    JudgeConfig,
    judge.run,
    {"candidate": at("responses-grpo-1"), "baseline": at("responses-sft"), "quiet": True},
    {
        "candidate": Effect(at("responses-ppo-1"), inputs("candidate")),
        "baseline": Effect(at("responses-ppo-1"), inputs("baseline")),
        "data": Effect(at("data-other"), refusal, want="VerificationError"),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "dry_run": Effect(True, lambda o: (published(o), server(o).calls), given=openai(), want=(set(), 0)),
        "judge": Effect("reward-model", detail("judge"), to={"reward_model": at("rm")}, want="reward-model:train"),
        "reward_model": Effect(
            at("rm-again"), inputs("reward_model"), given={"judge": "reward-model", "reward_model": at("rm")}
        ),
        "base_url": Effect(endpoint(always_ties), column("forward", "verdicts"), given=openai(), want=["tie"] * 6),
        "reply_form": (
            Effect("label", asked("response_format"), given=openai(), want={"None"}),
            Effect("json_schema", probes, given=openai(), want=0),
        ),
        "temperature": Effect(0.5, asked("temperature"), given=openai(), want={"0.5"}),
        "max_reply_tokens": Effect(50, asked("max_tokens"), given=openai(), want={"50"}),
        "concurrency": Effect(1, lambda o: server(o).most_in_flight, given=openai(slow), want=1),
        "attempts": Effect(2, refusal, given=openai(busy_at_first, attempts=1), want=None),
        "timeout_s": Effect(0.01, refusal, given=openai(slow, attempts=1), want="IncompleteError"),
        "max_cost_usd": Effect(0.0, refusal, given=openai(**{**PRICED, "price_input_usd": 1.0}), want="BudgetError"),
        "price_input_usd": Effect(TOO_DEAR, refusal, given=openai(**PRICED), want="BudgetError"),
        "price_output_usd": Effect(TOO_DEAR, refusal, given=openai(**PRICED), want="BudgetError"),
        "cache": Effect(
            inside("mine.sqlite3"), lambda o: (o.folder / "mine.sqlite3").exists(), given=openai(), want=True
        ),
        "retry_invalid": Effect(
            True, refusal, given=openai(unclear_at_first, reply_form="json_schema"), want=None, first=judged_in_vain
        ),
    },
)


def several(*names: str) -> Callable[[Place], Any]:
    """Some judgments of the store."""
    return named(lambda place: tuple(place.store / f"judgments-{name}" for name in names), "+".join(names))


def log_of(name: str) -> Callable[[Place], Any]:
    """The log of a policy that lies, judged once, in a place of its own."""

    def log(place: Place) -> tuple[Path]:
        for part in (name, f"judgments-{name}"):
            shutil.copytree(place.store / part, place.folder / "apart" / part, dirs_exist_ok=True)
        return (place.folder / "apart" / name / "train.jsonl",)

    return named(log, f"log of {name}")


def printed(o: Outcome) -> str:
    return o.stdout[:1]


def scored_later(o: Outcome) -> int:
    """How many kept answers of a run's last evaluation point the judge scored after the run."""
    last = o.artifact.read_json("report")["curves"]["ppo-1"]["win_rate"][-1]
    return sum(last[name] for name in ("wins", "losses", "ties"))


def margin(o: Outcome) -> float:
    return float(o.artifact.read_json("report")["estimates"]["equivalence"]["margin"])


COMPARE = Table(
    CompareConfig,
    compare.run,
    {"judgments": several("grpo-1", "ppo-1"), "quiet": True},
    {
        "judgments": Effect(several("grpo-1"), detail("runs"), want=1),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "allow_mismatch": Effect(True, refusal, given={"judgments": several("grpo-1", "ppo-7")}, want=None),
        "sweeps": Effect(
            named(lambda place: (place.store / "sweep-grpo-1",), "one"),
            lambda o: o.artifact.read_json("report")["sweep"] is not None,
            given={"judgments": several("grpo-1")},
            want=True,
        ),
        "gold_prompts": Effect(2, scored_later, given={"judgments": several("ppo-1-by-rm")}, want=2),
        "equivalence_margin": Effect(
            0.25,
            margin,
            given={"judgments": several("grpo-1-by-rm", "grpo-2-by-rm", "ppo-1-by-rm", "ppo-2-by-rm")},
            want=0.25,
        ),
        "ppo_logs": Effect(log_of("ppo-2"), detail("runs"), given={"allow_mismatch": True}, want=3),
        "grpo_logs": Effect(log_of("grpo-2"), detail("runs"), given={"allow_mismatch": True}, want=3),
        "pdf": Effect(inside("copy.pdf"), lambda o: (o.folder / "copy.pdf").exists(), want=True),
        "metrics": Effect(("tie_rate",), lambda o: "tie_rate: ppo " in o.stdout, given={"quiet": False}, want=True),
        "as_json": Effect(True, printed, want="{"),
        "quiet": Effect(False, silent, want=False),
        "overwrite": Effect(True, refusal, want=None, first=finished),
    },
)


def annotated(*preferences: float) -> Callable[[Place], Any]:
    """A file of AlpacaEval's form with these preferences."""

    def file(place: Place) -> Path:
        rows = [annotations.row(i, preference) for i, preference in enumerate(preferences)]
        return annotations.write(place.folder / "annotations.json", rows)

    return named(file, "-".join(map(str, preferences)))


IMPORT = Table(
    ImportConfig,
    importing.run,
    {"source": "alpaca-eval", "file": annotated(1, 2, 2), "quiet": True},
    {
        "source": Effect("hearsay", refusal, want="ValidationError"),
        "file": Effect(annotated(1, 1, 1.5), column("outcome", "verdicts"), want=["loss", "loss", "tie"]),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "baseline": Effect("mine", column("outcome", "verdicts"), want=["win", "loss", "loss"]),
        "length_prior": Effect("alpaca-eval-2", lambda o: prior_of(o.artifact), want=ALPACA_EVAL_2),
        "quiet": Effect(False, silent, want=False),
        "overwrite": Effect(True, refusal, want=None, first=finished),
    },
)


def candidates(o: Outcome) -> int:
    """Lines of the table."""
    return sum(line.startswith("responses-") for line in o.stdout.splitlines())


SUMMARIZE = Table(
    SummarizeConfig,
    summarize.run,
    {"judgments": several("grpo-1")},
    {
        "judgments": Effect(several("grpo-1", "ppo-1"), candidates, want=2),
        "as_json": Effect(True, printed, want="{"),
    },
)


def planned(name: str) -> Callable[[Outcome], Any]:
    """A number of the first row of a plan."""
    return lambda o: json.loads(o.stdout)["rows"][0][name]


# A win rate of one half: an outcome varies by 0.25 and a run on 300 prompts by 0.25/300.
PLAN = Table(
    PlanConfig,
    plan.run,
    {"as_json": True},
    {
        "effect": Effect(0.2, planned("difference"), want=0.2),
        "cohens_d": Effect(2.0, planned("cohens_d"), want=2.0),
        "power": Effect(0.5, planned("detectable_difference"), moves=operator.lt),
        "alpha": Effect(0.2, planned("detectable_difference"), moves=operator.lt),
        "seeds": Effect(8, planned("power"), moves=operator.gt),
        "prompts": Effect(100, planned("run_sd"), want=0.05),
        "report": Effect(at("report"), lambda o: json.loads(o.stdout)["source"], want="measured"),
        "seed_sd": Effect((0.04,), planned("seed_sd"), want=0.04),
        "tie_rate": Effect(0.6, planned("run_sd"), want=(0.16 / 300) ** 0.5),
        "win_rate_decided": Effect(0.8, planned("run_sd"), want=(0.16 / 300) ** 0.5),
        "prompt_share": Effect(0.64, planned("run_sd"), want=(0.09 / 300) ** 0.5),
        "method_share": Effect(0.2, planned("power"), moves=operator.lt),
        "as_json": Effect(False, lambda o: o.stdout[:1], want="3"),
    },
)


def kl_of_answers(o: Outcome) -> dict[str, Any]:
    return {"kl": o.column("kl", "sweep_answers")}


def passes(o: Outcome) -> int:
    """Forward passes over whole answers."""
    return sum(not one.decoding for one in o.watch.passes)


def strengths(o: Outcome) -> list[float]:
    return [row["strength"] for row in o.artifact.read_json("sweep")["points"]]


SWEEP = Table(
    SweepConfig,
    sweep.run,
    {
        "policy": at("grpo-1"), "data": at("data"), "rm": at("rm"), "max_new_tokens": 8, "strengths": (0.0, 1.0),
        "eval_prompts": 4, "quiet": True,
    },
    {
        "policy": Effect(at("ppo-1"), column("response", "sweep_answers")),
        "data": Effect(at("data-other"), column("prompt_id", "sweep_answers")),
        "rm": Effect(at("rm-again"), inputs("reward_model")),
        "gold": Effect(at("rm"), lambda o: o.artifact.read_json("sweep")["gold"], want="reward-model"),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "strengths": Effect((0.5, 2.0), strengths, want=[0.5, 2.0]),
        "split": Effect("test", column("prompt_id", "sweep_answers")),
        "eval_prompts": Effect(3, detail("prompts"), want=3),
        "temperature": Effect(0.2, column("response", "sweep_answers")),
        "max_prompt_length": Effect(8, refusal, want="ConfigError"),
        "max_new_tokens": Effect(3, decodings, moves=operator.lt),
        "sampling_seed": Effect(1, column("response", "sweep_answers")),
        "compute_form": Effect("quantized", quantized, given={"compute_form": "dense"}, want={True}),
        "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
        "rollout_rows": Effect(2, widest, want=2, same=kl_of_answers),
        "token_budget": Effect(64, passes, moves=operator.gt, same=kl_of_answers),
    },
)  # fmt: skip

TABLES = [RESPOND, JUDGE, IMPORT, SUMMARIZE, COMPARE, PLAN, SWEEP]


@pytest.fixture(scope="module", autouse=True)
def study(runs: Runs) -> Iterator[None]:
    """Add trained policies to the store, their answers, and the verdicts on them; ppo-7 has another clip range."""
    place = Place(runs.store, runs.folder)
    settings = {name: value(place) if callable(value) else value for name, value in RL.items()}
    for name, kind, more in (
        ("grpo-1", GRPOConfig, {"seed": 1}),
        ("grpo-2", GRPOConfig, {"seed": 2}),
        ("ppo-1", PPOConfig, {"seed": 1}),
        ("ppo-2", PPOConfig, {"seed": 2}),
        ("ppo-7", PPOConfig, {"seed": 7, "clip_range": 0.3}),
    ):
        train(kind(out=runs.store / name, **settings, **more))
    more = {"data": runs.store / "data", "rm": runs.store / "rm", "max_new_tokens": 8, "quiet": True}
    trained = ("grpo-1", "grpo-2", "ppo-1", "ppo-2", "ppo-7")
    for name in ("sft", *trained):
        respond.run(RespondConfig(policy=runs.store / name, out=runs.store / f"responses-{name}", **more))
    swept = {"data": runs.store / "data", "rm": runs.store / "rm", "max_new_tokens": 4, "eval_prompts": 2}
    sweep.run(SweepConfig(policy=runs.store / "grpo-1", out=runs.store / "sweep-grpo-1", quiet=True, **swept))
    for name in trained:
        pair = {"candidate": runs.store / f"responses-{name}", "baseline": runs.store / "responses-sft"}
        judge.run(JudgeConfig(**pair, out=runs.store / f"judgments-{name}", quiet=True))
        by_rm = {"judge": "reward-model", "reward_model": runs.store / "rm"}
        judge.run(JudgeConfig(**pair, out=runs.store / f"judgments-{name}-by-rm", quiet=True, **by_rm))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            patch.delenv(name, raising=False)
        for draw in ("pdf.draw_pdf",):  # slow, and nothing here looks at charts
            patch.setattr(f"align_eval.render.{draw}", lambda *arguments: arguments[-1].touch())
        # The reference checks find these answers level; a reward model never does.
        spread = tuple(runs.store / f"judgments-{name}-by-rm" for name in trained[:4])
        compare.run(CompareConfig(judgments=spread, out=runs.store / "report", quiet=True))
        yield
    for one in SERVERS.values():
        one.close()


@pytest.mark.parametrize(("table", "name", "effect"), [case for table in TABLES for case in table.cases()])
def test_the_option_has_its_effect(runs: Runs, table: Table, name: str, effect: Effect) -> None:
    check(runs, table, name, effect)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_option_is_in_the_table(table: Table) -> None:
    assert set(table.options) == set(table.config.model_fields)
