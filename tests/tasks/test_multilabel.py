from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Job
from gpt_magic.engine.precision import choose_machine
from gpt_magic.engine.step import accumulate_gradients
from gpt_magic.errors import OptionError
from gpt_magic.inference.thresholds import best_thresholds
from gpt_magic.tasks.labelled import logits
from gpt_magic.tasks.multilabel import Multilabel, crossed_f1, positive_weights
from gpt_magic.tasks.regress import Regress
from tests.tiny import PAD, random_rows, settings, tiny_gpt2


def rows_with(targets: np.ndarray, seed: int) -> Encoded:
    """Random rows, each scored at its last token against a row of ``targets``."""
    rows = random_rows(len(targets), seed)
    return Encoded(rows.ids, rows.scored, list(targets[:, None]), rows.index)


def plain(model: Any, rows: Encoded, labels: torch.Tensor) -> torch.Tensor:
    """The loss of transformers' own class, padded."""
    ids = [torch.from_numpy(row).long() for row in rows.ids]
    tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)
    loss: torch.Tensor = model(input_ids=tokens, attention_mask=(tokens != PAD).long(), labels=labels).loss
    return loss


def gradient(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("batch_size", [3, 16])
@pytest.mark.parametrize(
    ("problem", "outputs"), [("multi_label_classification", 4), ("multi_label_classification", 1), ("regression", 1)]
)
@pytest.mark.parametrize("seed", range(2))
def test_loss_and_gradient_are_those_of_transformers(problem: str, outputs: int, batch_size: int, seed: int) -> None:
    """A packed step in any number of forward passes against one padded batch of transformers' class."""
    rng = np.random.default_rng(seed)
    several = problem != "regression"
    targets = (rng.random((16, outputs)) < 0.4) if several else rng.normal(size=(16, 1))
    rows = rows_with((targets if several else targets[:, 0]).astype(np.float32), seed)
    ours, theirs = (tiny_gpt2(outputs, seed, problem_type=problem) for _ in range(2))
    loss = plain(theirs, rows, torch.from_numpy(targets.astype(np.float32)))
    loss.backward()
    objective = Multilabel(np.ones(outputs)) if several else Regress(0.0)
    step = settings(batch_size=batch_size, accumulate=-(-16 // batch_size))
    work = Job(ours, objective, rows, step, choose_machine("cpu", "fp32"))
    found = accumulate_gradients(work, range(16), rows.lengths(), 1)
    assert found == pytest.approx(float(loss), abs=1e-5)
    assert gradient(theirs).abs().max() > 0.01
    torch.testing.assert_close(gradient(ours), gradient(theirs), atol=1e-5, rtol=1e-4)


def test_weights_are_those_of_torch() -> None:
    model, hidden = tiny_gpt2(3), torch.randn(5, 32)
    targets = (torch.rand(5, 3) < 0.5).float()
    weights = np.array([1.0, 2.0, 7.5])
    reference = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights).float())
    found = Multilabel(weights).losses(model, hidden, targets)
    assert found.shape == (5,)
    torch.testing.assert_close(found.mean(), reference(logits(model, hidden), targets))


def test_balanced_weights_make_both_sides_of_each_label_count_alike() -> None:
    labels = [("a",)] * 3 + [("a", "b")] + [()] * 4
    found = positive_weights("balanced", labels, ["a", "b"])
    for number, label in enumerate("ab"):
        have = np.array([label in row for row in labels])
        lacking, having = compute_class_weight("balanced", classes=np.array([False, True]), y=have)
        assert found[number] == pytest.approx(having / lacking)
    assert positive_weights("balanced", [("a",)] * 4, ["a"]).tolist() == [0.25]  # a label that every row has
    assert positive_weights("none", labels, ["a", "b"]).tolist() == [1, 1]
    assert positive_weights({"b": 2, "a": 1}, labels, ["a", "b"]).tolist() == [1, 2]
    with pytest.raises(OptionError, match="class_weights: 'c' unknown; give a weight for each of 'a', 'b'"):
        positive_weights({"a": 1, "b": 1, "c": 1}, labels, ["a", "b"])


def test_the_f1_of_tuned_thresholds_is_of_halves_that_did_not_tune_them() -> None:
    rng = np.random.default_rng(0)
    chances = rng.random((81, 3))
    truth = rng.random((81, 3)) < chances**3
    order, said = np.random.default_rng(5).permutation(81), np.zeros((81, 3), dtype=bool)
    for here, other in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        said[here] = chances[here] >= best_thresholds(chances[other], truth[other])
    assert crossed_f1(chances, truth, 5) == pytest.approx(f1_score(truth, said, average="micro"))
