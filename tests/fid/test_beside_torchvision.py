"""Beside torchvision, whose wheels are built for CUDA, a CPU torch does all that it does without; in any order."""

import subprocess
import sys

import pytest

pytest.importorskip("cleanfid.resize", reason="the extra fid is not installed")

PAIRED = (
    "from sdi_bench.metrics.paired import psnr, ssim; a = np.zeros((2, 3, 16, 16)); print(psnr(a, a + 0.2)[0], ssim(a, a)[0])"
)
TRAINED = "from sdi_bench.models.trained import trained; print(trained().shape)"
PIPELINE = "from diffusers import StableDiffusionPipeline; print(StableDiffusionPipeline.__name__)"
TRAINING = "import sdi_bench.train.parts; print('parts')"
SCORES = "import torchmetrics.functional.multimodal; print('scores')"
CLEAN = "from sdi_bench.features.inception import clean_fid; print(clean_fid().__name__)"
ITSELF = "import torchvision; print(torchvision.transforms.ToTensor.__name__)"


@pytest.mark.parametrize(
    "lines",
    [
        [PAIRED, TRAINED, CLEAN],
        pytest.param([TRAINED, PAIRED, SCORES], marks=pytest.mark.slow),
        pytest.param([CLEAN, PIPELINE, PAIRED], marks=pytest.mark.slow),
        [ITSELF, TRAINING, CLEAN],
        pytest.param([PIPELINE, ITSELF], marks=pytest.mark.slow),
    ],
    ids=["measures first", "a model first", "clean-fid first", "torchvision first", "diffusers first"],
)
def test_a_fresh_process_imports_what_it_needs(lines: list[str]) -> None:
    program = "\n".join(["import numpy as np", "import sdi_bench", *lines])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(lines)


def test_nothing_imports_torchvision_before_it_is_asked_for() -> None:
    heavy = ("torchvision", "diffusers", "transformers")
    program = f"import sys, sdi_bench; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
