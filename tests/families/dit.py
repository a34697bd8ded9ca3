"""DiT."""

import json
from pathlib import Path

import pytest
import tiny_pipelines

from families import Family, Item
from sdi_bench.models.checkpoints.families.dit import DiT

LABELS = {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus", "207": "golden retriever"}


class Published:
    """A pipeline saved as facebook/DiT-XL-2-256 is: the network under its old name, and labels, which diffusers does not save.

    Its network makes a variance as well; a thousand classes, as the pipeline's null class is number 1000.
    """

    def save_pretrained(self, folder: Path) -> None:
        from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

        sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 8}
        transformer = tiny_pipelines.lively(DiTTransformer2DModel(**sizes, in_channels=4, out_channels=8), 12)
        DiTPipeline(transformer, tiny_pipelines.vae(), DDIMScheduler(clip_sample=False)).save_pretrained(folder)
        for path, more in (
            (folder / "model_index.json", {"transformer": ["diffusers", "Transformer2DModel"], "id2label": LABELS}),
            (folder / "transformer" / "config.json", {"_class_name": "Transformer2DModel"}),
        ):
            path.write_text(json.dumps(json.loads(path.read_text()) | more))


def told(gamma: float) -> dict[str, object]:
    return {"guidance_scale": gamma, "class_labels": [207, 1]}


def wrong_class(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DiT, "classes", {"golden retriever": 208, "goldfish": 2})


FAMILIES = [
    Family(
        "DiT",
        Published,
        wrong_class,
        "the classes are the next ones",
        call=told,
        items=(Item("golden retriever", 0), Item("goldfish", 1)),
        gammas=(1.0, 4.0),
        unpack=lambda model, x: x[:2],  # under guidance the call steps twice as many
    )
]
