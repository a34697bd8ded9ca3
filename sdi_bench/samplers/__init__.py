"""Samplers; one file, one yaml, one oracle each."""

from .base import Sampler, State
from .ddim import Ddim
from .ddpm import Ddpm
from .distillation import Annealed, Distillation, RandomT
from .heun import Heun
from .released import ReleasedTimeline

__all__ = ["Annealed", "Ddim", "Ddpm", "Distillation", "Heun", "RandomT", "ReleasedTimeline", "Sampler", "State"]
