"""All mutants, in the order of the specification's lines."""

from mutants.catalogue import adapters, grpo, kl, logprobs, loop, ppo, reward, sampling, sft
from mutants.mutant import Mutant

SECTIONS = (sampling, logprobs, adapters, reward, ppo, grpo, kl, loop, sft)
MUTANTS: tuple[Mutant, ...] = tuple(mutant for section in SECTIONS for mutant in section.MUTANTS)
