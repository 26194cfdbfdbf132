#!/usr/bin/env python3
"""Times a prefill by moesim, llama.cpp and transformers on the same weights, in one go.

Called by compare.sh. Rounds alternate between the engines, each in a process of its own, so that
what else the machine does meets all of them; the best round of each counts, loading left out.

moesim runs twice: exactly, and in the precision of its peers (--precision bf16: weights and
activations rounded to bf16, sums in f32). llama.cpp rounds activations to bf16 for bf16 weights and
to 8 bits for q8_0 ones; transformers runs the whole model in the weights' dtype.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time

import numpy as np

RUNS = 3  # in a process
MOESIM = {"f32": "moesim", "bf16": "moesim bf16"}  # by its precision


def token_ids(n, vocabulary):
    """The same ids as tests/bench/prefill.c."""
    return [(t * 7919 + t // 3) % vocabulary for t in range(n)]


def read_config(folder):
    with open(os.path.join(folder, "config.json")) as file:
        return json.load(file)


# --- checkpoints -----------------------------------------------------------------------------------


def write_gguf(folder, kind, path):
    """An OLMoE folder as GGUF: matrices of type @kind, as llama.cpp's converter would name them."""
    import gguf
    from safetensors.torch import load_file

    config = read_config(folder)
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    layers, experts = config["num_hidden_layers"], config["num_experts"]
    writer = gguf.GGUFWriter(path, "olmoe")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_expert_count(experts)
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    stored = getattr(gguf.GGMLQuantizationType, kind)

    def get(name):
        return tensors[name].float().numpy()

    def add(name, data, narrow=True):
        if narrow and kind != "F32":
            data = gguf.quants.quantize(data, stored)
            writer.add_tensor(name, data, raw_dtype=stored)
        else:
            writer.add_tensor(name, data)

    embedding = get("model.embed_tokens.weight")
    add("token_embd.weight", embedding)
    add("output.weight", get("lm_head.weight") if "lm_head.weight" in tensors else embedding)
    add("output_norm.weight", get("model.norm.weight"), narrow=False)
    for layer in range(layers):
        theirs, ours = f"model.layers.{layer}.", f"blk.{layer}."
        for to, name in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"),
                         ("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm"),
                         ("ffn_gate_inp", "mlp.gate")):
            add(f"{ours}{to}.weight", get(f"{theirs}{name}.weight"), narrow=False)
        for to, name in (("attn_q", "q"), ("attn_k", "k"), ("attn_v", "v"), ("attn_output", "o")):
            add(f"{ours}{to}.weight", get(f"{theirs}self_attn.{name}_proj.weight"))
        for name in ("gate", "up", "down"):
            add(f"{ours}ffn_{name}_exps.weight",
                np.stack([get(f"{theirs}mlp.experts.{e}.{name}_proj.weight")
                          for e in range(experts)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- engines, each in its own process ----------------------------------------------------------------


def best_of(call):
    best = float("inf")
    for _ in range(RUNS):
        start = time.monotonic()
        call()
        best = min(best, time.monotonic() - start)
    return best


def run_llama(path, ids, threads):
    """The better of llama.cpp's own size of a physical batch and one as long as the text."""
    from llama_cpp import Llama

    best, logits = float("inf"), None
    for ubatch in (512, len(ids)):
        model = Llama(path, n_ctx=len(ids), n_batch=len(ids), n_ubatch=ubatch, n_threads=threads,
                      n_threads_batch=threads, verbose=False)

        def call():
            model.reset()
            model.eval(ids)

        best = min(best, best_of(call))
        logits = np.ctypeslib.as_array(model._ctx.get_logits(), (model.n_vocab(),)).copy()
        model.close()
    return best, logits


def run_transformers(folder, ids, threads, kind):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    batch = torch.tensor([ids])
    kept = []

    def call():
        with torch.inference_mode():
            kept[:] = [model(batch, logits_to_keep=1, use_cache=False).logits[0, -1].float()]

    return best_of(call), kept[0].numpy()


def run_moesim(prefill, model, precision, ids, threads, work):
    table, logits = os.path.join(work, "prefill.csv"), os.path.join(work, "logits.bin")
    subprocess.run([prefill, "--precision", precision, "--threads", str(threads),
                    "--tokens", str(len(ids)), "--csv", table, "--logits", logits, model],
                   check=True, stdout=subprocess.DEVNULL)
    with open(table) as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "all"]
    return float(rows[0]["seconds"]), np.fromfile(logits, np.float32), float(rows[0]["bound_share"])


def child(a):
    ids = token_ids(a.tokens, read_config(a.folder)["vocab_size"])
    if a.engine == "gguf":
        write_gguf(a.folder, a.kind.upper(), a.file)
        return
    if a.engine == "llama.cpp":
        seconds, logits = run_llama(a.file, ids, a.threads)
    else:
        seconds, logits = run_transformers(a.folder, ids, a.threads, a.kind)
    np.save(a.out, np.append(logits.astype(np.float64), seconds))


# --- the comparison ------------------------------------------------------------------------------------


def start_child(a, engine, folder, kind, file, tokens):
    out = os.path.join(a.work, "answer.npy")
    subprocess.run([sys.executable, __file__, "--engine", engine, "--folder", folder, "--kind", kind,
                    "--file", file, "--tokens", str(tokens), "--threads", str(a.threads), "--out",
                    out], check=True, stderr=subprocess.DEVNULL if engine != "gguf" else None)
    if engine == "gguf":
        return None
    answer = np.load(out)
    return float(answer[-1]), answer[:-1]


def compare(a, name, folders, tokens, rows):
    """@folders: {"f32": ..., "bf16": ...}; Q8_0 is made of the first."""
    files = {}
    for kind in ("f32", "bf16", "q8_0"):
        folder = folders.get(kind, folders["f32"])
        files[kind] = os.path.join(a.work, f"{name}-{kind}.gguf")
        if not os.path.exists(files[kind]):
            start_child(a, "gguf", folder, kind, files[kind], tokens)
    ids = token_ids(tokens, read_config(folders["f32"])["vocab_size"])
    best, logits, shares = {}, {}, {}
    for _ in range(a.rounds):
        for kind in ("f32", "bf16", "q8_0"):
            answers = {}
            model = files[kind] if kind == "q8_0" else folders[kind]
            for precision, engine in MOESIM.items():
                *answers[engine], share = run_moesim(a.prefill, model, precision, ids, a.threads,
                                                     a.work)
                shares[kind, engine] = max(share, shares.get((kind, engine), 0))
            answers["llama.cpp"] = start_child(a, "llama.cpp", folders["f32"], kind, files[kind],
                                               tokens)
            if kind != "q8_0":
                answers["transformers"] = start_child(a, "transformers", folders[kind], kind, "-",
                                                      tokens)
            for engine, (seconds, values) in answers.items():
                key = kind, engine
                best[key] = min(seconds, best.get(key, float("inf")))
                logits[key] = values
    truth = logits["f32", "transformers"]
    for (kind, engine), seconds in best.items():
        apart = np.abs(logits[kind, engine] - truth).max() / np.abs(truth).max()
        rows.append({"model": name, "tokens": tokens, "threads": a.threads, "dtype": kind,
                     "engine": engine, "tokens_s": round(tokens / seconds, 1),
                     "moesim_ratio": round(seconds / best[kind, "moesim"], 2),
                     "moesim_bf16_ratio": round(seconds / best[kind, "moesim bf16"], 2),
                     "bound_share": shares.get((kind, engine), ""),
                     "logits_apart": f"{apart:.1e}"})


def report(rows, path):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    print(f"{'model':<12} {'tokens':>6} {'dtype':<5} {'engine':<12} {'tokens/s':>9} "
          f"{'moesim is':>10} {'in bf16':>9} {'of SGEMM':>9} {'logits apart':>13}")
    for row in rows:
        share = f"{row['bound_share'] * 100:.0f} %" if row["bound_share"] != "" else ""
        print(f"{row['model']:<12} {row['tokens']:>6} {row['dtype']:<5} {row['engine']:<12} "
              f"{row['tokens_s']:>9,.0f} {row['moesim_ratio']:>9.2f}x "
              f"{row['moesim_bf16_ratio']:>8.2f}x {share:>9} "
              f"{row['logits_apart']:>13}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefill", help="tests/bench/prefill, built")
    parser.add_argument("--tiny", help="the folder of olmoe-tiny")
    parser.add_argument("--work", help="a folder for checkpoints")
    parser.add_argument("--csv", help="the table goes here too")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    for hidden in ("--folder", "--kind", "--file", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=2048, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.engine:
        child(a)
        return
    rows, folders = [], {}
    for kind in ("f32", "bf16"):
        folders[kind] = os.path.join(a.work, f"olmoe-{kind}")
        if not os.path.exists(os.path.join(folders[kind], "model.safetensors")):
            subprocess.run([a.prefill, "--make", kind, folders[kind]], check=True)
    compare(a, "olmoe-8x1024", folders, 2048, rows)
    compare(a, "olmoe-tiny", {"f32": a.tiny, "bf16": a.tiny}, 1024, rows)
    report(rows, a.csv)


if __name__ == "__main__":
    main()
