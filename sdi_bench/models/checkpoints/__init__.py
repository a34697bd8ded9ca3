"""Checkpoints: any diffusers folder as a Denoiser.

folder.py: what all have in common; latents.py: text and codec; families/: a file a family, how its network is asked;
scheduler.py: what a scheduler says; opening.py: from disk to memory; prints.py: fingerprints.
"""

from .folder import DiffusersFolder

__all__ = ["DiffusersFolder"]
