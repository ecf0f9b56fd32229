"""Trains on two processes; each sees its own half of every epoch. There is no coordinator:
the halves follow from the seed, the epoch and the rank.

    torchrun --nproc-per-node 2 docs/examples/train_distributed.py DATASET

With Ray Train, use the same function as the worker's: `TorchTrainer(train, ...)` sets
up torch.distributed, and the loader gets its rank and world size from there."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from slaf.ml import SLAFDataLoader
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def train(dataset: str, epochs: int = 2) -> float:
    loader = SLAFDataLoader(dataset, batch_size=32, max_genes=64, n_epochs=epochs, verbose=False)
    vocabulary = int(loader.tokenizer.tokens.max()) + 1
    torch.manual_seed(0)
    embed = nn.Embedding(vocabulary, 16, padding_idx=0)
    model = DistributedDataParallel(nn.Sequential(embed, nn.Linear(16, vocabulary)))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    seen = []
    for batch in loader:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        # Guess each gene from the one before it.
        logits = model(ids[:, :-1])
        wanted = ids[:, 1:].masked_fill(~mask[:, 1:], -100)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(batch["cell_ids"])
    print(
        f"rank {loader.rank}: loss {loss.item():.3f}, cells {torch.cat(seen).tolist()}", flush=True
    )
    return loss.item()


if __name__ == "__main__":
    dist.init_process_group("gloo")
    train(sys.argv[1])
    dist.destroy_process_group()
