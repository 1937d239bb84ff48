from pipeline.chain import AA_SEED, PipelineConfig, chain


def names(embedded: bool = True, **settings) -> list[str]:
    return [step.name for step in chain(PipelineConfig(**settings), embedded)]


def test_two_methods_by_one_seed():
    assert names(seeds=[42]) == [
        "data",
        "base",
        "sft",
        "rm",
        "grpo-42",
        "ppo-42",
        "responses-sft",
        "responses-sft-aa",
        "responses-ppo-42",
        "responses-grpo-42",
        "judgments-sft-aa",
        "judgments-ppo-42",
        "judgments-grpo-42",
        "report",
    ]


def test_the_study_has_six_runs():
    # 4 (data base sft rm) + 6 runs + 8 responses (6 runs, sft twice) + 7 judgments (6 runs, sft-aa) + report
    assert len(names()) == 26


def test_every_need_is_made_before():
    made: set[str] = set()
    for step in chain(PipelineConfig(gold=True), embedded=True):
        assert step.needs <= made
        made.add(step.name)


def test_only_an_embedded_base_takes_the_data():
    base = {flag: next(s for s in chain(PipelineConfig(), flag) if s.name == "base") for flag in (True, False)}
    assert base[True].needs == {"data"}
    assert base[False].needs == set()


def test_a_gold_reward_model_is_optional_and_in_nobody_s_way():
    steps = {step.name: step for step in chain(PipelineConfig(gold=True), embedded=True)}
    assert steps["rm-gold"].extra == ("--split", "gold")
    assert not any("rm-gold" in step.needs for step in steps.values())
    assert "rm-gold" not in names()


def test_the_second_sft_answers_differ_in_the_sampler_s_seed_only():
    steps = {step.name: step for step in chain(PipelineConfig(), embedded=True)}
    first, second = steps["responses-sft"], steps["responses-sft-aa"]
    assert first.inputs == second.inputs
    assert (first.extra, second.extra) == ((), ("--sampling-seed", str(AA_SEED)))


def test_a_sweep_of_every_run_is_optional_and_goes_into_the_report():
    steps = {step.name: step for step in chain(PipelineConfig(seeds=(1, 2), sweep=True), embedded=True)}
    sweeps = ("sweep-ppo-1", "sweep-grpo-1", "sweep-ppo-2", "sweep-grpo-2")
    assert [name for name in steps if name.startswith("sweep")] == list(sweeps)
    assert steps["report"].inputs["--sweeps"] == sweeps
    assert steps["sweep-grpo-2"].inputs == {"--policy": ("grpo-2",), "--rm": ("rm",), "--data": ("data",)}
    assert not any(name.startswith("sweep") for name in names())


def test_where_the_gold_reward_model_judges_it_scores_sweeps_too():
    settings = PipelineConfig(seeds=(1,), gold=True, sweep=True)
    by_gold, by_checks = ({s.name: s for s in chain(settings, True, judge)} for judge in (True, False))
    assert by_gold["sweep-ppo-1"].inputs["--gold"] == ("rm-gold",)
    assert "--gold" not in by_checks["sweep-ppo-1"].inputs
