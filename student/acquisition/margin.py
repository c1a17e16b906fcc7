"""Margin sampling in rounds: the images on which the teacher is expected to be least certain.

A ridge regression from the student's free features to the embeddings bought so far predicts the
embeddings of the other images. Their cosines to the class texts predict the teacher's
classification; the smallest margin between the best two classes comes first: T. Scheffer et al.,
"Active hidden Markov models for information extraction", IDA 2001, which ALFM (arXiv 2401.14555)
finds strong on features of foundation models.

The first round takes a random one percent of the images, but at least as many as there are
classes; each round doubles what was chosen, whatever the budget is, so that a bigger budget
buys a superset. Shapes: M rows, F features, D teacher dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from student.acquisition.candidates import AcquisitionRounds, Answers, Candidates
from student.acquisition.herding import herding_order
from student.acquisition.stratified import stratified_order

RIDGE = 0.01  # times the features' mean variance
_CHUNK = 4096
_LEAST = 1e-12  # keeps the equations solvable if the features do not vary


def margin_rounds(candidates: Candidates, *, seed: int) -> AcquisitionRounds:
    """After a stratified random round, each round the smallest margins."""
    return _rounds(candidates, stratified_order(candidates.strata, seed), typical=0.0)


def hybrid_rounds(candidates: Candidates, *, seed: int) -> AcquisitionRounds:
    """After a herded round, each round half by herding and half by the smallest margins.

    Typical images serve a small budget and uncertain ones a large one (arXiv 2202.02794); a half of
    each in every round, and not of the whole, is what can be nested.
    """
    herded = herding_order(candidates, seed=seed, length=len(candidates))
    return _rounds(candidates, herded, typical=0.5)


def margins(candidates: Candidates, answers: Answers) -> NDArray[np.float32]:
    """The predicted margin of each image between its best and its second class: (N,)."""
    features = torch.from_numpy(candidates.directions())
    rows = np.flatnonzero(answers.known)
    weight, bias = solve_projection(
        features[rows],
        functional.normalize(torch.from_numpy(answers.images[rows]), dim=-1),
        ridge=RIDGE,
    )
    guessed = functional.normalize(functional.linear(features, weight, bias), dim=-1)
    texts = functional.normalize(torch.from_numpy(answers.texts), dim=-1)
    best = (guessed @ texts.T).topk(2, dim=-1).values
    margin: NDArray[np.float32] = (best[:, 0] - best[:, 1]).numpy()
    return margin


def _rounds(candidates: Candidates, free: Sequence[int], *, typical: float) -> AcquisitionRounds:
    """Rounds: the first takes the start of `free`; each later round takes the share `typical` from
    the rest of `free`, and the images with the smallest margins."""
    total = len(candidates)
    size = min(total, max(candidates.num_classes, total // 100, 1))
    chosen = list(free[:size])
    answers = yield list(chosen)
    while len(chosen) < total:
        size = min(total, 2 * len(chosen))
        known = answers.of(chosen)
        taken = set(chosen)
        fresh = [row for row in free if row not in taken]
        if known.known.any():
            count = size - len(chosen)
            by_free = fresh[: int(typical * count)]
            left = np.array(sorted(set(fresh) - set(by_free)), dtype=np.int64)
            unsure = left[np.argsort(margins(candidates, known)[left], kind="stable")].tolist()
            asked = by_free + unsure[: count - len(by_free)]
        else:  # nothing that was requested could be bought: there is nothing to fit
            asked = fresh[: size - len(chosen)]
        chosen += asked
        answers = yield asked


def solve_projection(
    features_MF: Tensor, targets_MD: Tensor, *, ridge: float
) -> tuple[Tensor, Tensor]:
    """The weight (D, F) and bias (D,) that map features to unit targets, by ridge regression.

    The penalty is `ridge` times the mean variance of the features; the bias is not penalised.
    """
    num_features, dim = features_MF.shape[1], targets_MD.shape[1]
    gram = torch.zeros(num_features + 1, num_features + 1, dtype=torch.float64)
    moment = torch.zeros(num_features + 1, dim, dtype=torch.float64)
    for at in range(0, len(features_MF), _CHUNK):
        part = slice(at, at + _CHUNK)
        target_BD = targets_MD[part].double()
        with_one = functional.pad(features_MF[part].cpu().double(), (0, 1), value=1.0)
        gram += with_one.T @ (target_BD.norm(dim=-1, keepdim=True) * with_one)
        moment += with_one.T @ target_BD
    total = gram[-1, -1]
    mean_F = gram[-1, :-1] / total
    variance = gram.diagonal()[:-1].mean() / total - mean_F.square().mean()
    penalty = (total * (ridge * variance + _LEAST)).repeat(num_features + 1)
    penalty[-1] = 0.0
    solution = torch.linalg.solve(gram + penalty.diag(), moment)
    return solution[:-1].T.float().contiguous(), solution[-1].float()
