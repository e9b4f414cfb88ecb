"""Bad input to `backward`: what was expected, what came, what to do; and nothing was written."""

import pytest
import torch
from balancing_cases import CASES, Case, Network, batch

from polytask import balancing
from polytask.balancing import Accumulation, backward
from polytask.errors import PolytaskError
from polytask.tasks import Binary, Regression

NAMES = ["a", "b", "c"]
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
gradient_kinds = pytest.mark.parametrize(
    "case", [case for case in CASES if not issubclass(case.kind, balancing.LossBalancer)], ids=lambda case: case.name
)


def no_gradient(net: Network) -> bool:
    return all(p.grad is None for p in net.parameters())


@every
def test_loss_that_is_not_a_scalar(case: Case) -> None:
    net = Network(NAMES)
    losses, z = net.losses(*batch(NAMES))
    losses["b"] = net.heads["b"](z)[:, 0].square()
    with pytest.raises(PolytaskError, match=r"loss of 'b' must be a scalar tensor, got shape \[12\].*mean"):
        backward(losses, case.make(NAMES))
    losses["b"] = 1.5
    with pytest.raises(PolytaskError, match=r"loss of 'b' must be a scalar tensor, got float"):
        backward(losses, case.make(NAMES))
    assert no_gradient(net)


@every
def test_loss_without_graph(case: Case) -> None:
    net = Network(NAMES)
    losses, _ = net.losses(*batch(NAMES))
    losses["c"] = losses["c"].detach()
    with pytest.raises(PolytaskError, match="'c'"):
        backward(losses, case.make(NAMES))
    assert no_gradient(net)


@every
@pytest.mark.parametrize("nothing", [{}, [], ()])
def test_no_losses(case: Case, nothing: object) -> None:
    with pytest.raises(PolytaskError, match=r"no losses.*no task has a label"):
        backward(nothing, case.make(NAMES))


@pytest.mark.parametrize("wrong", [torch.ones(3, requires_grad=True), torch.ones((), requires_grad=True), 3.0, None])
def test_losses_of_another_kind(wrong: object) -> None:
    for balancer in (balancing.Equal(), balancing.PCGrad()):
        with pytest.raises(
            PolytaskError, match=r"expected losses by task name.*got \w+; give every task's loss by itself"
        ):
            backward(wrong, balancer)


def test_a_list_of_losses_is_named_by_its_places() -> None:
    net = Network(NAMES)
    losses, _ = net.losses(*batch(NAMES))
    assert backward(list(losses.values()), balancing.PCGrad()).tasks == ("0", "1", "2")


@pytest.mark.parametrize("method", balancing.METHODS)
def test_class_instead_of_balancer(method: type) -> None:
    net = Network(NAMES)
    with pytest.raises(PolytaskError, match=rf"expected a balancer.*make one first: {method.__name__}\(\)"):
        backward(net.losses(*batch(NAMES))[0], method)
    assert no_gradient(net)


@pytest.mark.parametrize("wrong", ["PCGrad", None, 3.0, ["PCGrad"]])
def test_something_else_instead_of_balancer(wrong: object) -> None:
    net = Network(NAMES)
    with pytest.raises(PolytaskError, match="expected a balancer"):
        backward(net.losses(*batch(NAMES))[0], wrong)


@gradient_kinds
def test_shared_that_no_loss_reaches(case: Case) -> None:
    net = Network(NAMES)
    stranger = torch.nn.Linear(5, 5)
    with pytest.raises(PolytaskError, match="shared"):
        backward(net.losses(*batch(NAMES))[0], case.make(NAMES), shared=stranger)
    with pytest.raises(PolytaskError, match="no loss reaches any of the `shared`"):
        backward(net.losses(*batch(["a"]))[0], case.make(NAMES), shared=stranger)
    assert no_gradient(net)


@gradient_kinds
def test_shared_that_is_not_all_of_it(case: Case) -> None:
    net = Network(NAMES)
    with pytest.raises(
        PolytaskError, match=r"reached by several losses but are not among `shared`.*leave the argument out"
    ):
        backward(net.losses(*batch(NAMES))[0], case.make(NAMES), shared=net.trunk[2])
    assert no_gradient(net)


@gradient_kinds
def test_empty_shared(case: Case) -> None:
    net = Network(NAMES)
    with pytest.raises(PolytaskError):
        backward(net.losses(*batch(NAMES))[0], case.make(NAMES), shared=[])
    assert no_gradient(net)


@gradient_kinds
@pytest.mark.parametrize("names", [["a"], NAMES])
def test_features_that_are_not_in_the_graph(case: Case, names: list[str]) -> None:
    net = Network(NAMES)
    losses, _ = net.losses(*batch(names))
    stranger = net.trunk(batch(names)[0])  # computed again: not what the losses were computed with
    with pytest.raises(PolytaskError, match="features"):
        backward(losses, case.make(NAMES), features=stranger)
    assert no_gradient(net)


@gradient_kinds
def test_features_whose_graph_the_losses_do_not_reach(case: Case) -> None:
    """The losses were computed from a detached copy: the trunk would silently get a zero gradient."""
    net = Network(NAMES)
    x, targets = batch(NAMES)
    z = net.trunk(x)
    copy = z.detach()
    losses = {n: (net.heads[n](copy)[:, 0] - t.nan_to_num()).square().mean() for n, t in targets.items()}
    with pytest.raises(PolytaskError, match="features"):
        backward(losses, case.make(NAMES), features=z)


@gradient_kinds
def test_features_without_a_graph(case: Case) -> None:
    net = Network(NAMES)
    net.trunk.requires_grad_(False)
    losses, z = net.losses(*batch(NAMES))
    assert not z.requires_grad
    with pytest.raises(PolytaskError, match="features"):
        backward(losses, case.make(NAMES), features=z)


@gradient_kinds
def test_features_beside_which_something_is_shared(case: Case) -> None:
    net = Network(NAMES)
    x, _ = batch(NAMES)
    z = net.trunk(x)
    bypass = torch.ones(1, dtype=torch.float64, requires_grad=True)
    losses = {n: (net.heads[n](z) + bypass).square().mean() for n in NAMES}
    with pytest.raises(PolytaskError, match=r"shape \[1\].*not behind the features given"):
        backward(losses, case.make(NAMES), features=z)


@every
def test_pieces_with_different_tasks(case: Case) -> None:
    net = Network(NAMES)
    pending = Accumulation(case.make(NAMES), 2)
    pending.add(net.losses(*batch(NAMES))[0])
    losses, _ = net.losses(*batch(NAMES))
    losses.pop("b")
    with pytest.raises(PolytaskError, match=r"tasks \['a', 'b', 'c'\], got \['a', 'c'\]"):
        pending.add(losses)
    assert no_gradient(net)


@every
def test_finish_before_add(case: Case) -> None:
    with pytest.raises(PolytaskError, match=r"0 of 2 pieces were added: call add\(losses\)"):
        Accumulation(case.make(NAMES), 2).finish()


def test_features_in_pieces() -> None:
    net = Network(NAMES)
    _, z = net.losses(*batch(NAMES))
    with pytest.raises(PolytaskError, match="whole batches"):
        Accumulation(balancing.MGDA(), 2, features=z)


def test_uncertainty_of_other_tasks() -> None:
    net = Network(NAMES)
    for balancer in (balancing.Uncertainty(["a", "b"]), balancing.Uncertainty()):
        with pytest.raises(PolytaskError, match=r"got losses of \['a', 'b', 'c'\].*parameter_groups"):
            backward(net.losses(*batch(NAMES))[0], balancer)
    assert no_gradient(net)
    with pytest.raises(PolytaskError, match=r"made for the tasks \['x'\], not for \['y'\]"):
        balancing.Uncertainty(["x"]).bind([Binary("x"), Regression("y")])
    with pytest.raises(PolytaskError, match="task 'dept', which does not exist; did you mean 'depth'"):
        balancing.Uncertainty(["depth"], regression=["dept"])


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: balancing.Static({"a": -1.0}), "at least 0"),
        (lambda: balancing.Static({"a": float("nan")}), "at least 0"),
        (lambda: balancing.Static({"a": float("inf")}), "at least 0"),
        (lambda: balancing.DWA(temperature=0.0), "must be positive"),
        (lambda: balancing.DWA(temperature=float("nan")), "must be positive"),
        (lambda: balancing.GradDrop(leak=1.5), "between 0"),
        (lambda: balancing.GradDrop(leak={"a": -0.1}), "between 0"),
        (lambda: balancing.Static({"dept": 1.0}).bind([Binary("depth")]), "'dept'.*did you mean 'depth'"),
        (lambda: balancing.GradDrop({"dept": 0.5}).bind([Binary("depth")]), "'dept'.*did you mean 'depth'"),
    ],
)
def test_settings_out_of_range(make: object, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        make()
