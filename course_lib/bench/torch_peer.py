"""The course's classifier in PyTorch, in a process of its own: python -P torch_peer.py BATCHES.npz

PyTorch and TensorFlow in one process can crash each other, so this file imports nothing of the course. It
prints "ready"; then, for each line it reads, it trains for one epoch and prints the mean loss of its batches.

BATCHES.npz holds vocabulary_size, embedding_dim and hidden_dim, and for each batch i of the course's own
ids/i (batch, time), labels/i and weights/i (batch,).
"""

import sys

import numpy as np
import torch
from torch import nn

PAD_ID = 0


class TorchClassifier(nn.Module):
    """Token ids (batch, time) to logits (batch, 2); the LSTM also reads the padding, on the right.

    Args:
        vocabulary_size: number of ids.
        embedding_dim: size of a token vector.
        hidden_dim: size of the hidden state in each direction.
    """

    def __init__(self, vocabulary_size: int, embedding_dim: int, hidden_dim: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim, padding_idx=PAD_ID)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.logits = nn.Linear(2 * hidden_dim, 2)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embedding(token_ids))  # (batch, time, 2 * hidden_dim)
        states = states.masked_fill((token_ids == PAD_ID)[:, :, None], -torch.inf)
        return self.logits(states.amax(dim=1))


def main(path: str) -> None:
    """Train an epoch for each line."""
    torch.manual_seed(0)
    with np.load(path, allow_pickle=False) as arrays:
        sizes = [int(arrays[name]) for name in ("vocabulary_size", "embedding_dim", "hidden_dim")]
        num_batches = sum(name.startswith("ids/") for name in arrays.files)
        batches = [
            [torch.from_numpy(arrays[f"{name}/{i}"]) for name in ("ids", "labels", "weights")]
            for i in range(num_batches)
        ]
    model = TorchClassifier(*sizes)
    optimizer = torch.optim.Adam(model.parameters())
    cross_entropy = nn.CrossEntropyLoss(reduction="none")
    print("ready", flush=True)
    for _ in sys.stdin:
        total = 0.0
        for token_ids, labels, weights in batches:
            optimizer.zero_grad()
            loss = (cross_entropy(model(token_ids), labels) * weights).mean()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(total / num_batches, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
