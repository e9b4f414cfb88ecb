"""FAMO, GradNorm, DTP and ExcessMTL: values by hand, slow twins, and what their papers claim."""

import copy
import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from polytask import balancing
from polytask.balancing import DTP, FAMO, Balancer, ExcessMTL, ExponentiatedGradient, GradNorm, LossBalancer, Step
from polytask.balancing.jacobian.excess import excess_risk
from polytask.balancing.losses.famo import famo_change
from polytask.balancing.losses.gradnorm import gradnorm_gradient
from polytask.balancing.losses.priority import dtp_weights
from polytask.errors import PolytaskError
from polytask.tasks import Binary, Regression
from polytask.training import load_tree, save_tree

AB = ("a", "b")


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def derivative(balancer: LossBalancer, losses: Tensor, names: Sequence[str] = AB) -> Tensor:
    """The weights: d total / d losses."""
    losses = losses.clone().requires_grad_()
    return torch.autograd.grad(balancer.total(losses, names), losses)[0]


def seen(balancer: Balancer, values: Tensor, names: Sequence[str] = AB, norms: Tensor | None = None) -> None:
    balancer.observe(Step(tuple(names), values, norms=norms))


def by_name(values: Tensor, names: Sequence[str] = AB) -> Mapping[str, Tensor]:
    return dict(zip(names, values, strict=True))


def restored(balancer: Balancer, fresh: Balancer, tmp_path) -> Balancer:
    """A new balancer with the state of another, which went through a file."""
    save_tree(balancer.state_dict(), tmp_path / "state.safetensors")
    fresh.load_state_dict(load_tree(tmp_path / "state.safetensors"))
    return fresh


# --- FAMO -------------------------------------------------------------------------------------------------------------


class SlowFAMO:
    """Algorithm 1 with autograd doing every derivative."""

    def __init__(self, tasks: int, beta: float, gamma: float) -> None:
        self.xi = torch.zeros(tasks, dtype=torch.float64)
        self.beta, self.gamma = beta, gamma

    def total(self, losses: Tensor) -> Tensor:
        w = self.xi.softmax(0)
        c = 1 / (w / (losses.detach() + 1e-8)).sum()
        return (c * w * (losses + 1e-8).log()).sum()

    def update(self, before: Tensor, after: Tensor) -> None:
        xi = self.xi.clone().requires_grad_()
        fall = (before + 1e-8).log() - (after + 1e-8).log()
        (delta,) = torch.autograd.grad(xi.softmax(0) @ fall, xi)
        self.xi = self.xi - self.beta * (delta + self.gamma * self.xi)


@pytest.mark.claim("weights by hand", FAMO)
def test_famo_weights_by_hand() -> None:
    """Equal w: weights are proportional to 1 / L, and sum to 1."""
    torch.testing.assert_close(derivative(FAMO(), tensor(1.0, 3.0)), tensor(0.75, 0.25))
    bounded = FAMO(lower={"b": 2.0})  # b is 1 above its bound
    torch.testing.assert_close(derivative(bounded, tensor(1.0, 3.0)), tensor(0.5, 0.5))


def test_famo_moves_by_hand() -> None:
    """delta = w (d - w.d) with d = (log 2, 0), w = 1/2: (log 2 / 4, - log 2 / 4); then the decay."""
    balancer = FAMO(adam=False, beta=0.5, gamma=0.2)
    seen(balancer, tensor(2.0, 5.0))
    balancer.after_step(by_name(tensor(1.0, 5.0)))
    moved = 0.5 * math.log(2) / 4
    torch.testing.assert_close(balancer.xi(AB), tensor(-moved, moved))
    seen(balancer, tensor(2.0, 5.0))
    balancer.after_step(by_name(tensor(2.0, 5.0)))  # nothing fell: decay alone
    torch.testing.assert_close(balancer.xi(AB), tensor(-moved, moved) * (1 - 0.5 * 0.2))


@pytest.mark.claim("its algorithm, literally, over the steps", FAMO)
def test_famo_follows_its_slow_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    names = ("a", "b", "c", "d")
    fast, slow = FAMO(adam=False, beta=0.7, gamma=0.05), SlowFAMO(4, 0.7, 0.05)
    for _ in range(30):
        before = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1
        after = before * (0.5 + torch.rand(4, generator=generator, dtype=torch.float64))
        losses = before.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(slow.total(losses), losses)
        torch.testing.assert_close(derivative(fast, before, names), wanted)
        assert derivative(fast, before, names).sum().item() == pytest.approx(1.0)
        seen(fast, before, names)
        fast.after_step(by_name(after, names))
        slow.update(before, after)
        torch.testing.assert_close(fast.xi(names), slow.xi)


def falls(balancer: Balancer, steps: int) -> Tensor:
    """How much the log losses fell in the last of some steps of length 0.01, for L_a = exp(x), L_b = 1000 exp(3 y)."""
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def losses() -> dict[str, Tensor]:
        return {"a": x[0].exp(), "b": 1000 * (3 * x[1]).exp()}

    for _ in range(steps):
        before = losses()
        balancing.backward(before, balancer)
        with torch.no_grad():
            x -= 0.01 * x.grad / x.grad.norm()
        x.grad = None
        if balancer.looks_again:
            balancer.after_step({name: loss.detach() for name, loss in losses().items()})
    return torch.stack([(before[name] / loss).log() for name, loss in losses().items()]).detach()


@pytest.mark.claim("all losses fall at the same relative rate", FAMO)
def test_famo_lets_all_losses_fall_at_the_same_relative_rate() -> None:
    """The paper's aim: whatever units and slopes, all log losses fall alike; the sum serves the large loss alone."""
    found = falls(FAMO(adam=False, beta=10.0, gamma=0.0), 2000)
    assert found[0].item() == pytest.approx(found[1].item(), rel=0.01) and found[0] > 0.005
    plain = falls(balancing.Equal(), 100)
    assert plain[1] > 100 * plain[0]


def test_famo_does_not_care_for_the_units_of_losses() -> None:
    for factor in (1e-3, 1e4):
        one, other = FAMO(adam=False, beta=1.0), FAMO(adam=False, beta=1.0)
        for values in ([1.0, 2.0], [0.7, 1.9], [0.6, 1.0]):
            for balancer, scale in ((one, tensor(1.0, 1.0)), (other, tensor(1.0, factor))):
                seen(balancer, tensor(*values) * scale)
                balancer.after_step(by_name(tensor(values[0] * 0.9, values[1] * 0.5) * scale))
        torch.testing.assert_close(one.xi(AB), other.xi(AB), rtol=1e-4, atol=1e-6)


@pytest.mark.claim("an absent task keeps its logit", FAMO)
def test_famo_absent_tasks_keep_their_logit() -> None:
    balancer, twin = FAMO(adam=False, beta=1.0, gamma=0.5), FAMO(adam=False, beta=1.0, gamma=0.5)
    for each in (balancer, twin):
        seen(each, tensor(1.0, 1.0, 1.0), "abc")
        each.after_step(by_name(tensor(0.5, 0.7, 0.9), "abc"))
    before = balancer.xi("c")
    seen(balancer, tensor(1.0, 1.0))
    balancer.after_step(by_name(tensor(0.5, 0.9)))
    assert torch.equal(balancer.xi("c"), before) and not torch.equal(balancer.xi("a"), twin.xi("a"))


def test_famo_at_and_below_a_bound() -> None:
    assert torch.isfinite(derivative(FAMO(), tensor(0.0, 1.0))).all()
    assert torch.isfinite(derivative(FAMO(), tensor(0.0, 0.0).float())).all()
    with pytest.raises(PolytaskError, match=r"above their bounds \(all 0\), got losses \{'a': -1.0.*lower="):
        FAMO().total(tensor(-1.0, 1.0), AB)
    with pytest.raises(PolytaskError, match=r"bounds \(\{'b': 2.0\}\)"):
        FAMO(lower={"b": 2.0}).total(tensor(1.0, 1.0), AB)
    with pytest.raises(PolytaskError, match="lower bound for task 'c', which does not exist"):
        FAMO(lower={"c": 2.0}).bind([Regression("a"), Regression("b")])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_famo_second_look_that_is_not_finite_changes_nothing(bad: float) -> None:
    balancer = FAMO()
    seen(balancer, tensor(1.0, 1.0))
    balancer.after_step(by_name(tensor(bad, 0.5)))
    assert torch.equal(balancer.xi(AB), tensor(0.0, 0.0))


def test_famo_says_when_after_step_does_not_fit() -> None:
    balancer = FAMO()
    with pytest.raises(PolytaskError, match=r"got \['a', 'b'\], but no step"):
        balancer.after_step(by_name(tensor(1.0, 1.0)))
    seen(balancer, tensor(1.0, 1.0))
    with pytest.raises(PolytaskError, match=r"got \['a'\], but that step had losses of \['a', 'b'\]"):
        balancer.after_step({"a": tensor(1.0)[0]})
    balancer.after_step(by_name(tensor(1.0, 1.0)))
    with pytest.raises(PolytaskError, match="no step"):
        balancer.after_step(by_name(tensor(1.0, 1.0)))


def test_famo_averages_over_processes_by_the_mean_of_the_step() -> None:
    """The second look is averaged as the first one was."""
    shared, local = FAMO(adam=False, beta=1.0), FAMO(adam=False, beta=1.0)
    shared.observe(Step(AB, tensor(1.0, 1.0), mean=lambda values: (values + tensor(0.2, 0.6)) / 2))
    seen(local, tensor(1.0, 1.0))
    shared.after_step(by_name(tensor(0.4, 0.8)))
    local.after_step(by_name(tensor(0.3, 0.7)))
    torch.testing.assert_close(shared.xi(AB), local.xi(AB))


@pytest.mark.claim("its memory is a few numbers per task", FAMO)
@pytest.mark.parametrize("adam", [True, False])
def test_famo_memory_is_some_numbers_per_task(tmp_path, adam: bool) -> None:
    balancer = FAMO(adam=adam, beta=1.0)
    for _ in range(5):
        seen(balancer, tensor(1.0, 1.0))
        balancer.after_step(by_name(tensor(0.9, 0.5)))
    again = restored(balancer, FAMO(adam=adam, beta=1.0), tmp_path)
    assert torch.equal(again.xi(AB), balancer.xi(AB)) and list(again._memory["xi"]) == ["a", "b"]
    for each in (balancer, again):
        seen(each, tensor(1.0, 1.0))
        each.after_step(by_name(tensor(0.8, 0.7)))
    assert torch.equal(again.xi(AB), balancer.xi(AB))


@pytest.mark.claim("by default xi moves as under torch.optim.Adam", FAMO)
def test_famo_moves_by_adam() -> None:
    balancer, slow = FAMO(beta=0.3, gamma=0.05), torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([slow], lr=0.3, weight_decay=0.05)
    for k in range(6):
        before, after = tensor(1.0, 2.0), tensor(0.9 - 0.1 * k, 1.9 - 0.02 * k * k)
        seen(balancer, before)
        balancer.after_step(by_name(after))
        slow.grad = famo_change(slow.detach(), before.double(), after.double())
        optimizer.step()
        torch.testing.assert_close(balancer.xi(AB), slow.detach(), rtol=1e-6, atol=1e-9)


# --- GradNorm ---------------------------------------------------------------------------------------------------------


@pytest.mark.claim("the gradient of its objective is that of autograd, with the target constant", GradNorm)
def test_gradnorm_gradient_is_that_of_the_sum_of_absolute_gaps() -> None:
    """Against autograd, with the targets constant (eq. 2)."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        weights, norms, ratios = torch.rand(3, 5, generator=generator, dtype=torch.float64) + 0.1
        w = weights.clone().requires_grad_()
        lengths = w * norms
        target = (lengths.mean() * (ratios / ratios.mean()) ** 1.5).detach()
        (wanted,) = torch.autograd.grad((lengths - target).abs().sum(), w)
        torch.testing.assert_close(gradnorm_gradient(weights, norms, ratios, 1.5), wanted)


def test_gradnorm_step_by_hand() -> None:
    """n = (3, 1), the same progress: targets (2, 2); log w moves by -rate 3/2 and +rate 1/2; then sum w = 2."""
    balancer = GradNorm(rate=0.2)
    torch.testing.assert_close(derivative(balancer, tensor(1.0, 1.0)), tensor(1.0, 1.0))
    seen(balancer, tensor(5.0, 7.0), norms=tensor(3.0, 1.0))
    wanted = tensor(math.exp(-0.3), math.exp(0.1))
    torch.testing.assert_close(derivative(balancer, tensor(1.0, 1.0)), 2 * wanted / wanted.sum())


@pytest.mark.claim("favours the task that learns more slowly", GradNorm)
def test_gradnorm_favours_the_task_that_learns_more_slowly() -> None:
    """Equal lengths, but a kept its loss and b lost half: r = (4/3, 2/3); a's target is above its length, b's below."""
    balancer = GradNorm(alpha=1.0, rate=0.1)
    seen(balancer, tensor(2.0, 2.0), norms=tensor(1.0, 1.0))  # the start: at rest
    assert torch.equal(derivative(balancer, tensor(1.0, 1.0)), tensor(1.0, 1.0))
    seen(balancer, tensor(2.0, 1.0), norms=tensor(1.0, 1.0))
    wanted = tensor(math.exp(0.1), math.exp(-0.1))
    torch.testing.assert_close(derivative(balancer, tensor(1.0, 1.0)), 2 * wanted / wanted.sum())
    plain = GradNorm(alpha=0.0)  # asks for equal lengths alone
    for values in (tensor(2.0, 2.0), tensor(2.0, 1.0)):
        seen(plain, values, norms=tensor(1.0, 1.0))
    assert torch.equal(derivative(plain, tensor(1.0, 1.0)), tensor(1.0, 1.0))


def gradnorm_toy(balancer: LossBalancer, sizes: Sequence[float], steps: int = 600) -> tuple[Tensor, Tensor]:
    """One trunk for several functions size * tanh((B + E_i) x), as in the toy of the paper's section 4; lengths of the
    weighted gradients at the last shared layer, and L / L(0), means over the last 50 steps."""
    torch.manual_seed(3)
    x = torch.randn(128, 10, dtype=torch.float64)
    base, own = torch.randn(10, 8, dtype=torch.float64), torch.randn(len(sizes), 10, 8, dtype=torch.float64)
    targets = [torch.tanh(x @ (base + 0.5 * each)) for each in own]
    reads = torch.randn(len(sizes), 16, 8, dtype=torch.float64) / 4
    shared = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 16)).double()
    names = [str(k) for k in range(len(sizes))]
    optimizer = torch.optim.Adam(shared.parameters(), lr=3e-3)
    lengths, ratios = [], []
    for _ in range(steps):
        z = shared(x)
        losses = [size**2 * (z @ r - y).square().mean() for size, r, y in zip(sizes, reads, targets, strict=True)]
        norms = torch.stack(
            [torch.autograd.grad(loss, shared[2].weight, retain_graph=True)[0].norm() for loss in losses]
        )
        lengths.append(derivative(balancer, torch.stack(losses).detach(), names) * norms)
        ratios.append(torch.stack(losses).detach())
        optimizer.zero_grad()
        balancing.backward(dict(zip(names, losses, strict=True)), balancer)
        optimizer.step()
    return torch.stack(lengths[-50:]).mean(0), torch.stack(ratios[-50:]).mean(0) / ratios[0]


def test_gradnorm_reaches_equal_rates_where_losses_differ_by_100() -> None:
    lengths, ratios = gradnorm_toy(GradNorm(alpha=0.5), (1.0, 10.0))
    torch.testing.assert_close(lengths[0] / lengths[1], (ratios[0] / ratios[1]).sqrt(), rtol=0.1, atol=0.0)
    assert ratios.max() < 1.5 * ratios.min()
    _, ratios = gradnorm_toy(balancing.Equal(), (1.0, 10.0))  # the sum serves the large one
    assert ratios.max() > 50 * ratios.min()


@pytest.mark.claim("weights stay positive and sum to t", GradNorm)
def test_gradnorm_weights_stay_positive_and_sum_to_their_number() -> None:
    balancer = GradNorm(rate=5.0)  # far too large
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        norms = 10 ** (10 * torch.rand(3, generator=generator, dtype=torch.float64) - 5)
        seen(balancer, torch.rand(3, generator=generator, dtype=torch.float64), "abc", norms)
        weights = derivative(balancer, tensor(1.0, 1.0, 1.0), "abc")
        assert (weights > 0).all() and weights.sum().item() == pytest.approx(3.0)


def test_gradnorm_does_not_care_for_units() -> None:
    """All losses, and with them all gradients, times a number."""
    one, other = GradNorm(rate=0.3), GradNorm(rate=0.3)
    for values, norms in (([1.0, 2.0], [3.0, 1.0]), ([0.5, 1.9], [2.0, 1.5]), ([0.1, 1.5], [0.3, 1.0])):
        seen(one, tensor(*values), norms=tensor(*norms))
        seen(other, 1e6 * tensor(*values), norms=1e6 * tensor(*norms))
    torch.testing.assert_close(one.logs(AB), other.logs(AB))


@pytest.mark.claim("an absent task keeps its weight", GradNorm)
def test_gradnorm_absent_tasks_keep_their_weight() -> None:
    balancer = GradNorm(rate=0.3)
    seen(balancer, tensor(1.0, 1.0, 1.0), "abc", tensor(3.0, 1.0, 2.0))
    before = balancer.logs("abc").exp()
    seen(balancer, tensor(1.0, 0.5), "ab", tensor(3.0, 1.0))
    after = balancer.logs("abc").exp()
    assert after[2] == before[2] and not torch.equal(after[:2], before[:2])
    assert after.sum().item() == pytest.approx(3.0)  # of all tasks ever seen
    assert derivative(balancer, tensor(1.0, 1.0), "ac").sum().item() == pytest.approx(2.0)


def test_gradnorm_defined_answers() -> None:
    balancer = GradNorm(rate=0.5)
    seen(balancer, tensor(1.0, 1.0), norms=tensor(0.0, 0.0))  # no gradient at all: nothing moves
    assert torch.equal(balancer.logs(AB), tensor(0.0, 0.0))
    seen(balancer, tensor(1.0, 1.0), norms=tensor(math.inf, 1.0))
    assert torch.equal(balancer.logs(AB), tensor(0.0, 0.0))
    seen(balancer, tensor(1.0, 1.0), norms=tensor(0.0, 1.0))  # b is too long; a has no gradient to lengthen
    weights = derivative(balancer, tensor(1.0, 1.0))
    assert torch.isfinite(weights).all() and weights[1] < weights[0]
    started = GradNorm()  # a loss of 0 at the start: its ratio counts as 1
    for values in (tensor(0.0, 1.0), tensor(3.0, 1.0)):
        seen(started, values, norms=tensor(1.0, 1.0))
    assert torch.equal(started.logs(AB), tensor(0.0, 0.0))
    alone = GradNorm()
    seen(alone, tensor(1.0), "a", tensor(7.0))
    assert derivative(alone, tensor(1.0), "a").item() == 1.0


def test_gradnorm_says_what_it_needs() -> None:
    with pytest.raises(PolytaskError, match="needs the lengths of the task gradients at the last shared layer"):
        seen(GradNorm(), tensor(1.0, 1.0))
    with pytest.raises(PolytaskError, match=r"must not be negative, got \{'a': -1.0"):
        GradNorm().total(tensor(-1.0, 1.0), AB)
    with pytest.raises(PolytaskError, match="works by name"):
        GradNorm().total(tensor(1.0, 1.0))


def test_gradnorm_remembers_the_start(tmp_path) -> None:
    balancer = GradNorm(rate=0.3)
    for values in (tensor(4.0, 1.0), tensor(2.0, 1.0)):
        seen(balancer, values, norms=tensor(2.0, 1.0))
    again = restored(balancer, GradNorm(rate=0.3), tmp_path)
    for each in (balancer, again):
        seen(each, tensor(1.0, 1.0), norms=tensor(2.0, 1.0))
    assert again._memory["first"] == {"a": 4.0, "b": 1.0}
    assert torch.equal(again.logs(AB), balancer.logs(AB))


# --- DTP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.claim("weights by hand", DTP)
def test_dtp_weights_by_hand(gamma: float) -> None:
    found = dtp_weights(tensor(0.25, 0.5, 0.9), gamma)
    wanted = [-((1 - k) ** gamma) * math.log(k) for k in (0.25, 0.5, 0.9)]
    torch.testing.assert_close(found, tensor(*wanted))
    assert found[0] > found[1] > found[2]  # the worse, the more


def test_dtp_limits_are_defined() -> None:
    for gamma in (0.0, 0.5, 3.0):
        nothing, solved = dtp_weights(tensor(0.0, 1.0), gamma).tolist()
        assert solved == 0.0 and nothing == pytest.approx(math.log(1e4), rel=1e-3)


@pytest.mark.claim("the average moves by alpha", DTP)
def test_dtp_average_moves_by_alpha() -> None:
    balancer = DTP(alpha=0.25, gamma=1.0)
    balancer.measure({"a": 0.4, "b": 0.8})  # the first one is the average
    torch.testing.assert_close(derivative(balancer, tensor(1.0, 1.0)), dtp_weights(tensor(0.4, 0.8), 1.0))
    seen(balancer, tensor(1.0, 1.0))
    balancer.measure({"a": 0.8, "b": 0.0})
    torch.testing.assert_close(derivative(balancer, tensor(1.0, 1.0)), dtp_weights(tensor(0.5, 0.6), 1.0))


def test_dtp_never_looks_at_the_loss() -> None:
    balancer = DTP()
    balancer.measure({"a": 0.4, "b": 0.8})
    assert torch.equal(derivative(balancer, tensor(1.0, 1.0)), derivative(balancer, tensor(1e6, -1.0)))


def test_dtp_remembers_only_steps_that_were_taken(tmp_path) -> None:
    balancer = DTP(alpha=0.5)
    balancer.measure({"a": 0.4, "b": 0.8})
    seen(balancer, tensor(1.0, 1.0))
    taken = derivative(balancer, tensor(1.0, 1.0))
    balancer.measure({"a": 0.0, "b": 0.0})  # of a step that is refused: the next measurement takes its place
    balancer.measure({"a": 0.4, "b": 0.8})
    torch.testing.assert_close(derivative(balancer, tensor(1.0, 1.0)), taken)
    again = restored(balancer, DTP(alpha=0.5), tmp_path)
    torch.testing.assert_close(derivative(again, tensor(1.0, 1.0)), taken)


@pytest.mark.claim("an absent task keeps its average", DTP)
def test_dtp_absent_tasks_keep_their_average() -> None:
    balancer = DTP(alpha=0.5)
    balancer.measure({"a": 0.4, "b": 0.8})
    seen(balancer, tensor(1.0, 1.0))
    balancer.measure({"a": 0.6})
    seen(balancer, tensor(1.0), "a")
    torch.testing.assert_close(derivative(balancer, tensor(1.0, 1.0)), dtp_weights(tensor(0.5, 0.8), 1.0))


def test_dtp_says_what_it_needs() -> None:
    balancer = DTP()
    balancer.measure({"a": 0.5})
    with pytest.raises(PolytaskError, match=r"nothing was measured for \['b'\]; call measure"):
        balancer.total(tensor(1.0, 1.0), AB)
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(PolytaskError, match=r"from 0 .* to 1 .*got {'b'"):
            balancer.measure({"a": 0.5, "b": bad})


# --- ExcessMTL --------------------------------------------------------------------------------------------------------


def told(balancer: ExcessMTL, rows: Tensor, names: Sequence[str] = AB) -> Tensor:
    """The weights of one step."""
    step = Step(tuple(names), torch.ones(len(rows)))
    direction = balancer.direction(rows, step)
    balancer.observe(step)
    weights = balancer.weights_of(names)
    torch.testing.assert_close(direction, weights.to(rows) @ rows)
    return weights


class SlowExcess:
    """Algorithm 1, written with the squares themselves and whole diagonal matrices."""

    def __init__(self, eta: float) -> None:
        self.eta, self.squares, self.first, self.weights = eta, [], [], None

    def step(self, rows: Tensor) -> Tensor:
        self.squares = self.squares or [torch.zeros_like(row) for row in rows]
        self.squares = [square + row**2 for square, row in zip(self.squares, rows, strict=True)]
        risks = [row @ torch.diag(s**-0.5) @ row for row, s in zip(rows, self.squares, strict=True)]
        self.first = self.first or risks
        relative = torch.stack([risk / start for risk, start in zip(risks, self.first, strict=True)])
        weights = torch.ones(len(rows)).to(rows) if self.weights is None else self.weights
        weights = weights * torch.exp(self.eta * relative)
        self.weights = weights * len(rows) / weights.sum()
        return self.weights


@pytest.mark.claim("excess risk by hand", ExcessMTL)
def test_excess_risk_by_hand() -> None:
    """Gradients 3, then 4 of one parameter: h = 5, e = 16 / 5; relative to the first, |3|: 16 / 15."""
    assert excess_risk(tensor(4.0), tensor(5.0)).item() == pytest.approx(3.2)
    balancer = ExcessMTL(eta=1.0)
    assert torch.equal(told(balancer, torch.tensor([[3.0], [1.0]])), tensor(1.0, 1.0))
    weights = told(balancer, torch.tensor([[4.0], [1.0]]))  # b: h = 2^.5, e = 2^-.5, relative to 1
    assert (weights[0] / weights[1]).item() == pytest.approx(math.exp(16 / 15 - 2**-0.5))


def test_excess_follows_its_slow_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    fast, slow = ExcessMTL(eta=0.5), SlowExcess(0.5)
    for _ in range(10):
        rows = torch.randn(4, 20, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(told(fast, rows, "abcd"), slow.step(rows))


@pytest.mark.claim("the unit of a loss changes nothing", ExcessMTL)
def test_excess_does_not_care_for_units() -> None:
    """One task's loss times a number: its weight is the same."""
    one, other = ExcessMTL(eta=0.5), ExcessMTL(eta=0.5)
    for seed in range(5):
        rows = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        a, b = told(one, rows), told(other, rows * torch.tensor([[1e-12], [1e8]], dtype=torch.float64))
        torch.testing.assert_close(a, b)


def train_noisy(balancer: Balancer, steps: int) -> Tensor:
    """Two linear tasks on shared weights, the labels of b so noisy that its loss can't fall below 25; the weights."""
    torch.manual_seed(0)
    x, w = torch.randn(400, 8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64, requires_grad=True)
    truth = torch.randn(8, dtype=torch.float64)
    labels = {"a": x @ truth, "b": x @ truth + 5 * torch.randn(400, dtype=torch.float64)}
    for _ in range(steps):
        balancing.backward({name: (x @ w - y).square().mean() for name, y in labels.items()}, balancer)
        with torch.no_grad():
            w -= 0.02 * w.grad
        w.grad = None
    losses = torch.ones(2, dtype=torch.float64)
    return balancer.weights_of(AB) if isinstance(balancer, ExcessMTL) else derivative(balancer, losses)


@pytest.mark.claim("the floor of label noise does not count", ExcessMTL)
def test_excess_ignores_the_floor_of_label_noise() -> None:
    """The claim of the paper: the noisy task does not take over, as it does where the loss itself is the measure."""
    by_loss, by_excess = train_noisy(ExponentiatedGradient(0.01), 300), train_noisy(ExcessMTL(eta=0.01), 300)
    assert by_loss[1] > 1.99
    assert by_excess[1] < 1.1


def test_excess_favours_the_task_that_is_far_from_its_optimum() -> None:
    balancer = ExcessMTL(eta=0.1)
    for step in range(50):
        weights = told(balancer, torch.tensor([[1.0, 0.0], [0.0, 0.8**step]], dtype=torch.float64))
    assert weights[0] > 1.2 * weights[1]


@pytest.mark.claim("an absent task keeps its weight and memory", ExcessMTL)
def test_excess_absent_tasks_keep_their_weight_and_memory() -> None:
    balancer = ExcessMTL(eta=0.5)
    rows = torch.tensor([[1.0, 2.0], [3.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    for k in range(3):
        told(balancer, rows * torch.tensor([[1.0], [0.5**k], [1.0]]), "abc")
    before, kept = balancer.logs("abc").exp(), balancer._memory["gradients"]["2"]["c"]["root"].clone()
    told(balancer, rows[:2])
    after = balancer.logs("abc").exp()
    assert after[2] == before[2] and torch.equal(balancer._memory["gradients"]["2"]["c"]["root"], kept)
    assert not torch.equal(after[:2], before[:2]) and after.sum().item() == pytest.approx(3.0)


def test_excess_defined_answers() -> None:
    balancer = ExcessMTL(eta=0.5)
    assert torch.equal(told(balancer, torch.zeros(2, 3)), tensor(1.0, 1.0))
    assert torch.isfinite(told(balancer, torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))).all()
    for scale in (1e-30, 1e30):  # squares of these are beyond float32
        assert torch.isfinite(told(ExcessMTL(), torch.tensor([[scale, 0.0], [1.0, 1.0]]))).all()
    nothing = ExcessMTL()
    assert told(nothing, torch.zeros(1, 0), "a").tolist() == [1.0]  # nothing is shared: nothing is remembered
    assert nothing._memory["gradients"] == {}


def test_excess_at_features_sums_over_the_batch() -> None:
    z = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    at, over = ExcessMTL(eta=1.0), ExcessMTL(eta=1.0)
    for scale in (1.0, 0.3):
        rows = z * torch.tensor([1.0, scale], dtype=torch.float64)[:, None, None]
        step = Step(AB, torch.ones(2), activations=torch.zeros(5, 3))
        direction = at.direction(rows, step)
        at.observe(step)
        weights = told(over, rows.sum(1))
        torch.testing.assert_close(at.weights_of(AB), weights)
        torch.testing.assert_close(direction, torch.einsum("t,tbf->bf", weights, rows))


def test_excess_step_that_is_refused_leaves_no_trace(tmp_path) -> None:
    balancer = ExcessMTL(eta=1.0)
    rows = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    told(balancer, rows)
    other = copy.deepcopy(balancer)
    balancer.direction(5 * rows, Step(AB, torch.ones(2)))  # never observed
    again = restored(balancer, ExcessMTL(eta=1.0), tmp_path)
    first, second, third = (told(each, 0.5 * rows.flip(1)) for each in (balancer, other, again))
    assert torch.equal(first, second) and torch.equal(first, third)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: FAMO(adam=False, beta=0.0), "beta of FAMO must be positive"),
        (lambda: FAMO(gamma=-1.0), "gamma of FAMO"),
        (lambda: GradNorm(alpha=-1.0), "alpha of GradNorm"),
        (lambda: GradNorm(rate=math.nan), "rate of GradNorm must be positive, got nan"),
        (lambda: DTP(alpha=0.0), "alpha of DTP"),
        (lambda: DTP(gamma=-0.5), "gamma of DTP"),
        (lambda: ExcessMTL(eta=0.0), "eta of ExcessMTL must be positive"),
    ],
)
def test_settings_that_cannot_be(make, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        make()


def test_tasks_may_be_called_regression_before_all_are_known() -> None:
    """As on a command line, where the tasks come from the problem."""
    balancer = balancing.Uncertainty(regression=["size"])
    balancer.bind([Binary("kind"), Regression("size")])
    assert balancer.scales == {"kind": 1.0, "size": 0.5}
    with pytest.raises(PolytaskError, match=r"regression for task 'sise'.*did you mean 'size'"):
        balancing.Uncertainty(regression=["sise"]).bind([Binary("kind"), Regression("size")])
