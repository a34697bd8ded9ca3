"""python -m sdi_bench.train: a miniature Stable Diffusion (arXiv 2112.10752) of the built-in world, as a diffusers folder.

recipe: what is trained on what. parts: networks, tokenizer, pipeline. fit: the loop, which goes on where it was stopped.
stages: the codec, then the denoiser. card: what came out, measured.
"""
