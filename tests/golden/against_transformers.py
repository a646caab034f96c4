#!/usr/bin/env python3
"""The slow forward pass of the miniatures (slow.h) against the models of the transformers package.

Usage: against_transformers.py MAKE_MINIATURE [NAME...]      (needs torch, transformers 5, safetensors, numpy)

Each miniature is written, its weights are made float32, and the logits of one window are compared. Miniatures whose
config.json the package reads otherwise than the released code are not compared; see the list.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

TOKENS = 17
BLOCK = 128
SKIPPED = {
    "V2: weights normalised": "the package's V2 router does not normalise",
    "V2: a single expert": "without mscale keys the package multiplies cos and sin by 0.1 ln(factor) + 1",
    "Moonlight": "the package knows no moe_layer_freq",
    "Kimi-K2:": "the package knows no moe_layer_freq",
    "Kimi-K2.5": "the package needs the part that sees",
    "DeepSeek-V4": "not computed",
}


def make_float32(folder):
    tensors, result = {}, {}
    for path in glob.glob(folder + "/*.safetensors"):
        tensors.update(load_file(path))
        os.remove(path)
    for name, tensor in tensors.items():
        if name.endswith("_scale_inv"):
            continue
        if tensor.dtype == torch.float8_e4m3fn:
            scale = tensors[name + "_scale_inv"].repeat_interleave(BLOCK, -2).repeat_interleave(BLOCK, -1)
            tensor = tensor.float() * scale[..., : tensor.shape[-2], : tensor.shape[-1]]
        result[name] = tensor.float().contiguous()
    save_file(result, folder + "/model.safetensors", metadata={"format": "pt"})
    for path in glob.glob(folder + "/*.index.json"):
        os.remove(path)
    with open(folder + "/config.json") as file:
        config = json.load(file)
    config.pop("quantization_config", None)
    config["qk_head_dim"] = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    with open(folder + "/config.json", "w") as file:
        json.dump(config, file)


def difference(make_miniature, name):
    with tempfile.TemporaryDirectory() as parent:
        folder = parent + "/model"
        subprocess.check_call([make_miniature, name, folder, str(TOKENS)])
        tokens = np.fromfile(folder + "/tokens.i32", dtype=np.int32).astype(np.int64)
        slow = np.fromfile(folder + "/logits.f64").reshape(TOKENS, -1)
        make_float32(folder)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
        )
        with torch.no_grad():
            logits = model(torch.tensor(tokens)[None]).logits[0].double().numpy()
        return np.abs(logits - slow).max()


def main():
    names = sys.argv[2:] or subprocess.check_output([sys.argv[1]], text=True).splitlines()
    worst = 0
    for name in names:
        reason = next((why for start, why in SKIPPED.items() if name.startswith(start)), None)
        if reason:
            print(f"{name}: not compared: {reason}")
            continue
        off = difference(sys.argv[1], name)
        print(f"{name}: logits off by at most {off:.1e}")
        worst = max(worst, off)
    return 0 if worst < 2e-4 else 1


sys.exit(main())
