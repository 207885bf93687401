"""Faster routines must not change a number: torch's own modules are the reference."""

from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

import gpt_magic
from gpt_magic.engine import kernels
from gpt_magic.engine.kernels import (
    bf16_gradients,
    bf16_product,
    bf16_products,
    fast_kernels,
    has_onednn,
    onednn_is_faster,
    onednn_is_faster_for_few,
    product,
)
from tests.tiny import tiny_gpt2

AMD = {"cpu_name": "AMD EPYC 9755", "avx512_f": True}
needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")


@pytest.fixture(params=["never", *(pytest.param(when, marks=needs_onednn) for when in ("few", "always"))])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """When oneDNN computes the products: all kinds of machines, on whatever this one is."""
    monkeypatch.setattr(kernels, "onednn_is_faster", lambda: request.param == "always")
    monkeypatch.setattr(kernels, "onednn_is_faster_for_few", lambda: request.param != "never")
    return str(request.param)


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """What the machine has is asked again in the test, and again after it."""
    for answer in (answers := (has_onednn, onednn_is_faster, onednn_is_faster_for_few)):
        answer.cache_clear()
    yield
    for answer in answers:
        answer.cache_clear()


def _close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize(("tokens", "inputs", "outputs"), [(1, 3, 5), (7, 16, 48), (300, 64, 256), (129, 256, 64)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.usefixtures("onednn")
def test_product_and_its_gradients(tokens: int, inputs: int, outputs: int, transposed: bool, biased: bool) -> None:
    torch.manual_seed(tokens)
    x, back = torch.randn(1, tokens, inputs), torch.randn(1, tokens, outputs)
    weight = torch.randn(outputs, inputs).t() if transposed else torch.randn(inputs, outputs)
    results = []
    for way in (product, lambda x, w, b: x @ w + (0 if b is None else b)):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        bias = torch.linspace(-1, 1, outputs, requires_grad=True) if biased else None
        out = way(leaves[0], leaves[1], bias)
        out.backward(back)
        results.append([out, *(leaf.grad for leaf in leaves), *([bias.grad] if bias is not None else [])])
    for ours, theirs in zip(*results, strict=True):
        _close(ours, theirs)


@pytest.mark.parametrize("rows", [1, 3, 4, 9, 64, 65])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_product_without_gradients(
    rows: int, transposed: bool, biased: bool, onednn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(rows)
    x, bias = torch.randn(rows, 1, 16), torch.randn(24) if biased else None
    weight = torch.randn(24, 16).t() if transposed else torch.randn(16, 24)
    calls, routine = [], kernels._onednn
    monkeypatch.setattr(kernels, "_onednn", lambda *args: calls.append(1) or routine(*args))
    with torch.inference_mode():
        _close(product(x, weight, bias), x @ weight + (0 if bias is None else bias))
    by_onednn = {"never": False, "few": transposed and 4 <= rows <= 64, "always": rows > 1}
    assert bool(calls) == by_onednn[onednn]


@pytest.mark.usefixtures("onednn")
def test_product_computes_no_gradient_that_nobody_wants() -> None:
    x, weight, bias = torch.randn(4, 3), torch.randn(3, 5), torch.zeros(5, requires_grad=True)
    product(x, weight, bias).sum().backward()
    assert x.grad is None
    assert weight.grad is None
    assert bias.grad is not None


@pytest.mark.parametrize(("tokens", "inputs", "outputs"), [(1, 3, 5), (7, 16, 48), (48, 8, 8), (129, 256, 64)])
@pytest.mark.parametrize(
    ("way", "kind"), [(bf16_product, torch.float32), (bf16_product, torch.bfloat16), (bf16_gradients, torch.float32)]
)
@pytest.mark.parametrize("biased", [False, True])
def test_products_in_bf16(tokens: int, inputs: int, outputs: int, way: Any, kind: torch.dtype, biased: bool) -> None:
    torch.manual_seed(tokens)
    # Operands that bfloat16 holds exactly, so that float64 says what comes out but for the rounding of the results.
    x, weight = torch.randn(1, tokens, inputs).to(kind).bfloat16(), torch.randn(inputs, outputs).bfloat16()
    bias, back = torch.randn(outputs).bfloat16(), torch.randn(1, tokens, outputs).bfloat16()
    leaves = [x.to(kind), weight.float(), bias.float()][: 3 if biased else 2]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    out, expected = way(*leaves), exact[0] @ exact[1] + (exact[2] if biased else 0)
    out.backward(back.to(out.dtype))
    expected.backward(back.double())
    assert out.dtype == (torch.bfloat16 if way is bf16_product else torch.float32)
    rounding = 2**-8 if way is bf16_product else 1e-5
    most = float(expected.detach().abs().max())
    torch.testing.assert_close(out.double(), expected, rtol=rounding, atol=rounding * most)
    for ours, theirs in zip(leaves, exact, strict=True):
        assert ours.grad is not None
        assert ours.grad.dtype == ours.dtype
        most = float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=2**-8, atol=2**-8 * most)


@pytest.mark.parametrize("way", [bf16_product, bf16_gradients])
def test_products_in_bf16_are_of_few_sizes(way: Any) -> None:
    """oneDNN compiles a kernel for each size; the tokens of a step are hardly ever as many as those of another."""
    weight = torch.randn(8, 4).requires_grad_()
    with _Products() as seen:
        for tokens in range(1000, 2000):
            way(torch.randn(tokens, 8).requires_grad_(), weight).sum().backward()
    assert seen.count == (3 if way is bf16_product else 2) * 1000
    assert len(seen.sizes) < seen.count / 50


class _Products(TorchDispatchMode):
    """Counts products in bfloat16, and of how many sizes they are."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.sizes = 0, set[tuple[torch.Size, ...]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default) and args[-1].dtype == torch.bfloat16:
            self.count += 1
            self.sizes.add(tuple(arg.shape for arg in args))
        return func(*args, **(kwargs or {}))


def test_only_a_gpt2_keeps_bf16_between_its_products() -> None:
    x = torch.ones(2, 3)
    assert bf16_product(x, torch.ones(3, 4), stays=False).dtype == torch.float32
    model = tiny_gpt2()
    tokens = torch.randint(0, 90, (2, 9))
    kinds: dict[str, torch.dtype] = {}
    for name, module in model.named_modules():
        if isinstance(module, Conv1D | nn.Linear | nn.LayerNorm):
            module.register_forward_hook(lambda _, __, out, name=name: kinds.update({name: out.dtype}))
    for family, inside in (("gpt2", torch.bfloat16), ("other", torch.float32)):
        model.config.model_type = family
        with bf16_products(), fast_kernels(model):
            model.score(model.base_model(tokens).last_hidden_state)
        assert kinds.pop("score") == torch.float32  # logits are exact
        assert {kind for name, kind in kinds.items() if ".ln_" in name} == {torch.float32}
        assert {kind for name, kind in kinds.items() if ".c_" in name} == {inside}


@pytest.mark.parametrize("longest", [6, 40])
def test_a_model_in_bf16_is_near_and_repeats_to_the_bit(longest: int) -> None:
    model = tiny_gpt2(seed=4)
    tokens = torch.randint(0, 90, (5, longest), generator=torch.manual_seed(1))
    results = []
    for context in (nullcontext(), bf16_products(), bf16_products()):
        model.zero_grad()
        with context, fast_kernels(model):
            hidden = model.base_model(tokens).last_hidden_state
        hidden.square().mean().backward()
        gradients = [p.grad.flatten() for p in model.base_model.parameters() if p.grad is not None]
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        results.append((hidden.detach(), torch.cat(gradients)))
    for exact, ours, again in zip(*results, strict=True):
        assert 1e-6 < float((ours - exact).norm() / exact.norm()) < 0.02
        assert torch.equal(ours, again)


@pytest.mark.parametrize(
    "config",
    [{"activation_function": "gelu_new"}, {"activation_function": "gelu_pytorch_tanh"}, {"n_inner": 24, "n_layer": 3}],
)
def test_a_model_computes_the_same_and_is_itself_again(config: dict[str, Any], onednn: str) -> None:
    fast = tiny_gpt2(seed=2, **config)
    plain = deepcopy(fast)
    tokens = torch.randint(0, 90, (3, 20), generator=torch.manual_seed(0))
    expected = plain.base_model(tokens).last_hidden_state
    back = torch.randn_like(expected)
    expected.backward(back)
    with fast_kernels(fast):
        hidden = fast.base_model(tokens).last_hidden_state
    hidden.backward(back)  # a backward pass may come afterwards
    _close(hidden, expected)
    for ours, theirs in zip(fast.base_model.parameters(), plain.base_model.parameters(), strict=True):
        assert ours.grad is not None
        _close(ours.grad, theirs.grad)
    assert not any("forward" in vars(module) for module in fast.modules())


def test_which_modules_are_swapped(onednn: str) -> None:
    class Own(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    model = nn.ModuleDict(
        {"linear": nn.Linear(3, 3), "conv": Conv1D(3, 3), "own": Own(3, 3), "float64": nn.Linear(3, 3).double()}
    )
    with fast_kernels(model):
        assert {name for name, part in model.items() if "forward" in vars(part)} == (
            {"never": set(), "few": {"linear"}, "always": {"linear", "conv"}}[onednn]
        )
        with fast_kernels(model["linear"]):
            pass
        assert ("forward" in vars(model["linear"])) == (onednn != "never")  # the inner one leaves it to the outer one
    with torch.autocast("cpu", dtype=torch.bfloat16), fast_kernels(model):
        assert not any("forward" in vars(part) for part in model.values())
        assert model["linear"](torch.ones(1, 3)).dtype == torch.bfloat16


def test_modules_are_put_back_after_an_error(onednn: str) -> None:
    model = tiny_gpt2(activation_function="gelu_new")
    with pytest.raises(KeyError), fast_kernels(model):
        raise KeyError
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize(
    ("cpu", "faster", "for_few"),
    [
        (AMD, True, True),
        ({"cpu_name": "AMD EPYC 7763", "avx512_f": False}, False, False),
        ({"cpu_name": "Intel(R) Xeon(R) Platinum 8481C", "avx512_f": True}, False, True),
        ({}, False, False),
    ],
)
def test_onednn_is_for_processors_with_avx512(
    cpu: dict[str, Any], faster: bool, for_few: bool, asked_anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "has_onednn", lambda: True)
    assert onednn_is_faster_for_few() == for_few
    assert onednn_is_faster() == faster


@pytest.mark.parametrize("mode", [nullcontext(), FakeTensorMode(), torch.device("meta")], ids=["none", "fake", "meta"])
def test_what_torch_has_can_be_asked_in_any_mode(mode: Any) -> None:
    """The rehearsal of a run asks first, and the answer is kept for as long as the process lives."""
    expected = has_onednn.__wrapped__()
    with mode:
        assert has_onednn.__wrapped__() == expected


@needs_onednn
def test_a_run_that_asks_first_computes_by_onednn(asked_anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: AMD, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    calls, routine = [], kernels._onednn
    monkeypatch.setattr(kernels, "_onednn", lambda *args: calls.append(type(args[0])) or routine(*args))
    rows = [{"text": f"a {word} film", "label": word} for word in ("good", "bad")] * 4
    tuned = gpt_magic.finetune(rows, base="scratch", precision="fp32", max_steps=1, baselines=False, quiet=True)
    assert calls.count(Tensor) > 10
    calls.clear()
    tuned.predict(["a good film", "a film"])
    assert Tensor in calls


def test_another_form_of_the_routine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_onednn", lambda x, weight: x @ weight.t() + 1)
    assert not has_onednn.__wrapped__()
