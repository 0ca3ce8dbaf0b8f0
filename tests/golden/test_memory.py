"""Models larger than the memory: the peak of a process must not follow the size of its model. The file is sparse, so it takes no disk."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import make_sparse_gguf  # noqa: E402

SHAPE = {"hidden": 2048, "ffn": 5632, "heads": 16, "vocab": 256, "context": 64, "epsilon": 1e-6}


# Linux counts a child's peak from the fork on, so of the test's own process, which has grown by then: a small interpreter measures.
PEAK = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"


def peak_bytes(program, *arguments):
    """Peak resident memory, mapped pages of files included."""
    command = [sys.executable, "-c", PEAK, program, *map(str, arguments), "-q"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("arguments", [["run", "--blocks", "64", "--map", "sparse"], ["project", "--structure", "dense", "-o", "f.safetensors"]],
                         ids=["run", "project"])
def test_the_peak_does_not_follow_the_size_of_the_model(danaus, tmp_path, arguments):
    if b"__asan_init" in pathlib.Path(danaus.path).read_bytes() or b"__tsan_init" in pathlib.Path(danaus.path).read_bytes():
        pytest.skip("sanitizers keep freed memory")
    sizes, peaks = [], []
    for layers in (1, 5):
        model = tmp_path / f"{layers}.gguf"
        make_sparse_gguf.write(model, {**SHAPE, "layers": layers}, "F32")
        sizes.append(model.stat().st_size)
        arguments = [tmp_path / word if word.endswith(".safetensors") else word for word in map(str, arguments)]
        peaks.append(peak_bytes(danaus.path, arguments[0], model, *arguments[1:]))
    assert sizes[1] > 1e9
    assert peaks[1] < sizes[1] / 4, peaks
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 8, peaks
