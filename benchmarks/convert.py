"""What `convert-weights` costs: a LLaVA in torch files to safetensors, and the usual way.

Whole, and as a difference to another model. Each runs in a process of its own; memory is what the
process itself holds (mapped files, which the system may drop, not counted). The usual way loads the
checkpoint, renames, and saves it.

Command:  python benchmarks/convert.py [--layers 6]
Target:   at most 1.3 x the largest file, whatever the number of files; of a difference, 1.3 x the
          largest of both models together.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

FIXTURE = Path(__file__).parent.parent / "tests" / "fixtures" / "llama_tokenizer"
SHAPE = {"hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16}


def build(folder: Path, layers: int) -> None:
    """Write language model, projector and CLIP tower, float16, in four torch files and one."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from genixer.models.base import load_preset

    vision = load_preset("tiny_llava").vision
    config = LlamaConfig(**SHAPE, num_hidden_layers=layers, vocab_size=420)
    tensors = LlamaForCausalLM(config).half().state_dict()
    wide, width = SHAPE["hidden_size"], vision["hidden_size"]
    shapes = {
        "0.weight": (wide, width),
        "0.bias": (wide,),
        "2.weight": (wide, wide),
        "2.bias": (wide,),
    }
    for name, shape in shapes.items():
        tensors[f"model.mm_projector.{name}"] = torch.rand(shape).half()
    folder.mkdir()
    for part in range(4):
        names = sorted(tensors)[part::4]
        torch.save({n: tensors[n].clone() for n in names}, folder / f"pytorch_model-{part}.bin")
    (folder / "config.json").write_text(json.dumps({**SHAPE, "num_hidden_layers": layers}))
    shutil.copyfile(FIXTURE / "tokenizer.model", folder / "tokenizer.model")
    clip = folder / "clip"
    clip.mkdir()
    tower = CLIPVisionModel(CLIPVisionConfig(**vision)).half().state_dict()
    torch.save({f"vision_model.{k}": v for k, v in tower.items()}, clip / "pytorch_model.bin")
    (clip / "config.json").write_text(json.dumps({"vision_config": vision}))


def ours(folder: Path, out: Path) -> None:
    """`genixer convert-weights`."""
    from genixer.models.convert import convert_weights

    convert_weights(folder, out, preset="tiny_llava", vision=folder / "clip")


def delta(folder: Path, out: Path) -> None:
    """`genixer convert-weights --delta-of`."""
    from genixer.models.convert import convert_weights

    base = folder.with_name(f"{folder.name}_base")
    convert_weights(folder, out, preset="tiny_llava", vision=folder / "clip", delta_of=base)


def usual(folder: Path, out: Path) -> None:
    """All files into memory, new names, one call of the library's writer."""
    import torch
    from safetensors.torch import save_file

    from genixer.models.layouts import destination, vision_destination

    tensors = {}
    for path in sorted(folder.glob("*.bin")):
        held = torch.load(path, map_location="cpu", weights_only=True)
        tensors |= {str(destination(name)): tensor for name, tensor in held.items()}
    held = torch.load(folder / "clip" / "pytorch_model.bin", weights_only=True)
    tensors |= {str(vision_destination(name)): tensor for name, tensor in held.items()}
    out.mkdir()
    save_file(tensors, out / "model.safetensors")


def anonymous() -> int:
    """Bytes of memory of this process that no file is behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this kernel does not tell anonymous memory")


def measure(way: Callable[[Path, Path], None], folder: Path, small: Path, out: Path) -> None:
    """Print peak memory (bytes above the loaded libraries) and CPU seconds of `way` as JSON."""
    # Libraries and their tables are there before the measurement.
    way(small, out.with_name(f"{out.name}_small"))
    before, peak, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    way(folder, out)
    seconds = time.process_time() - start
    done.set()
    watcher.join()
    print(json.dumps([max(peak - before, 0), seconds]))


def main() -> None:
    """Build, measure both ways, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--way", choices=["ours", "delta", "usual"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.way:
        way = {"ours": ours, "delta": delta, "usual": usual}[options.way]
        root = options.folder
        measure(way, root / "large", root / "small", root / options.way)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for name_of, layers in (("large", options.layers), ("small", 1)):
            build(root / name_of, layers)
            build(root / f"{name_of}_base", layers)
        files = [path.stat().st_size for path in (root / "large").glob("*.bin")]
        largest = max(files)
        print(f"{sum(files) / 1e6:.0f} MB in {len(files)} files, largest {largest / 1e6:.0f} MB")
        for way in ("usual", "ours", "delta"):
            command = [sys.executable, __file__, "--way", way, "--folder", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peak, seconds = json.loads(done.stdout.splitlines()[-1])
            share = peak / (2 * largest if way == "delta" else largest)
            of = "the largest file of both" if way == "delta" else "the largest file"
            print(f"{way:5}: memory {share:.2f} x {of}, {seconds:.2f} s of CPU")


if __name__ == "__main__":
    main()
