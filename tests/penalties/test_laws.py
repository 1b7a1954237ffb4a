"""The laws of convex duality, over every penalty."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradsculpt.errors import ConvergenceError
from gradsculpt.penalties import FunctionPenalty
from tests.penalties import laws
from tests.penalties.cases import CASES, CLOSED, NUMERICAL, SHAPE, STEPS, Case, map_of, maps, pairs
from tests.penalties.cases import pseudo_huber as _pseudo_huber

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
closed = pytest.mark.parametrize("case", CLOSED, ids=lambda case: case.name)
few = settings(max_examples=5)
"""For laws that call a numerical solver."""


@every
@few
@given(g=maps(), delta=maps())
def test_fenchel_young(case: Case, g: Tensor, delta: Tensor) -> None:
    laws.fenchel_young(case.batch(2), g, delta)


@every
@few
@given(g=maps(), share=st.sampled_from([0.0, 0.5, 0.999, 1.0, 1.001, 2.0]))
def test_fenchel_young_at_the_edge_of_the_domain(case: Case, g: Tensor, share: float) -> None:
    penalty = case.batch(2)
    laws.fenchel_young(penalty, g, share * penalty.dual(g))


@every
@few
@given(g=maps())
def test_equality_at_dual(case: Case, g: Tensor) -> None:
    laws.equality_at_dual(case.batch(2), case.within_reach(g))


@every
@few
@given(v=maps(), step=STEPS)
def test_prox_is_optimal(case: Case, v: Tensor, step: float) -> None:
    laws.prox_is_optimal(case.batch(2), case.within_reach(v), step)


@every
@few
@given(v=maps(), step=STEPS)
def test_conjugate_prox_is_optimal(case: Case, v: Tensor, step: float) -> None:
    laws.conjugate_prox_is_optimal(case.batch(2), case.within_reach(v) * min(step, 1.0), step)


@every
@few
@given(v=maps(), step=STEPS)
def test_moreau_identity(case: Case, v: Tensor, step: float) -> None:
    laws.moreau_identity(case.batch(2), v, step)


@every
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (1, *SHAPE)])
def test_steps_can_differ_between_entries(case: Case, shape: tuple[int, ...]) -> None:
    if case.name.startswith("GroupL21") and shape[-1] > 1:
        pytest.skip("the step of a group is one number")
    if "across" in case.name or "per_channel=False" in case.name:
        pytest.skip("the step of a group is one number")
    steps = torch.linspace(0.2, 2.0, int(torch.tensor(shape).prod()), dtype=torch.float64).view(shape)
    v = map_of(3, 2, 1.0, 0.3, False)
    laws.prox_is_optimal(case.batch(2), v, steps)
    laws.moreau_identity(case.batch(2), v, steps)


@every
@few
@given(a=maps(), b=maps(), share=st.integers(0, 16).map(lambda i: i / 16))
def test_convexity(case: Case, a: Tensor, b: Tensor, share: float) -> None:
    laws.convex(case.batch(2), a, b, share)


@every
@few
@given(a=maps(zeros=st.just(0.0)), b=maps(zeros=st.just(0.0)), share=st.integers(0, 16).map(lambda i: i / 16))
def test_convexity_of_the_conjugate_inside_its_domain(case: Case, a: Tensor, b: Tensor, share: float) -> None:
    penalty = case.batch(2)
    laws.convex(penalty, 0.9 * penalty.dual(a), 0.9 * penalty.dual(b), share)


@every
@given(g=maps(zeros=st.just(0.0)))
def test_dual_is_the_gradient(case: Case, g: Tensor) -> None:
    laws.dual_is_the_gradient(case.batch(2), torch.where(g == 0, 0.1, g))


@every
def test_value_is_differentiable_at_zero(case: Case) -> None:
    laws.differentiable_at_zero(case.batch(2), torch.zeros(2, *SHAPE, dtype=torch.float64))


@every
@given(g=maps())
def test_value_is_differentiable_where_groups_are_zero(case: Case, g: Tensor) -> None:
    laws.dual_is_the_gradient(case.batch(2), g)


@every
@given(g=maps())
def test_ascent_is_the_steepest_step(case: Case, g: Tensor) -> None:
    laws.ascent_is_the_steepest_step(case.batch(2), g)


@pytest.mark.parametrize("case", [case for case in CASES if case.zero], ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_stays_zero(case: Case, dtype: torch.dtype) -> None:
    laws.zero_stays_zero(case.batch(2), torch.zeros(2, *SHAPE, dtype=dtype), step=0.5)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_shapes_and_dtypes_are_kept(case: Case, dtype: torch.dtype, n: int) -> None:
    laws.shapes_and_dtypes_are_kept(case.batch(n), map_of(1, n, 1.0, 0.3, False).to(dtype), step=0.5)


@closed
def test_half_precision_is_kept(case: Case) -> None:
    laws.shapes_and_dtypes_are_kept(case.batch(2), map_of(1, 2, 1.0, 0.3, False).to(torch.bfloat16), step=0.5)


@every
def test_input_is_never_changed(case: Case) -> None:
    laws.input_is_never_changed(case.batch(2), map_of(1, 2, 1.0, 0.3, False), step=0.5)


@every
def test_layout_does_not_matter(case: Case) -> None:
    laws.layout_does_not_matter(case.batch(2), map_of(1, 2, 1.0, 0.3, False), step=0.5)


@every
@settings(max_examples=3)
@given(g=maps(n=3))
def test_batch_mates_do_not_matter(case: Case, g: Tensor) -> None:
    alone = [case.make(torch.tensor([i])) for i in range(3)]
    g = torch.cat([1e3 * g[:1], g[1:]])  # a mate of another size must not matter either
    laws.batch_mates_do_not_matter(case.batch(3), alone, g, step=0.5)


@closed
def test_not_a_number_is_not_hidden(case: Case) -> None:
    g = map_of(1, 2, 1.0, 0.0, False)
    g[0, 0, 1, 1] = torch.nan
    laws.not_a_number_is_not_hidden(case.batch(2), g)


@pytest.mark.parametrize("case", NUMERICAL, ids=lambda case: case.name)
def test_solvers_say_so_where_an_entry_is_not_a_number(case: Case) -> None:
    g = map_of(1, 2, 1.0, 0.0, False)
    g[0, 0, 1, 1] = torch.nan
    for operation in (case.batch(2).conjugate, lambda t: case.batch(2).prox(t, 0.5)):
        with pytest.raises(ConvergenceError):
            operation(g)


EXTREMES = [
    (torch.float64, 1e100),
    (torch.float64, 1e-100),
    (torch.float64, 1e-200),
    (torch.float64, 1e-310),
    (torch.float32, 1e15),
    (torch.float32, 1e-15),
    (torch.float32, 1e-30),
    (torch.float32, 1e-42),
]


@closed
@pytest.mark.parametrize(("dtype", "size"), EXTREMES)
def test_huge_and_tiny_entries_stay_finite(case: Case, dtype: torch.dtype, size: float) -> None:
    g = map_of(4, 2, 1.0, 0.3, False)
    laws.finite(case.batch(2), (size * g).to(dtype), step=0.5)
    g[:, :, 0] *= size  # huge or tiny entries beside ordinary ones
    laws.finite(case.batch(2), g.to(dtype), step=0.5)


@closed
@pytest.mark.parametrize("size", [1e100, 1e-100])
def test_laws_hold_far_from_one(case: Case, size: float) -> None:
    g = size * map_of(4, 2, 1.0, 0.3, False)
    laws.fenchel_young(case.batch(2), g, g)
    laws.equality_at_dual(case.batch(2), g)


@pytest.mark.parametrize("size", [1e100, 1e-200])
def test_dual_of_a_function_stays_finite(size: float) -> None:
    penalty = FunctionPenalty(_pseudo_huber)
    assert penalty.dual(size * map_of(4, 2, 1.0, 0.3, False)).isfinite().all()


@every
@settings(max_examples=4)
@given(delta=pairs())
def test_conjugate_is_the_supremum(case: Case, delta: Tensor) -> None:
    laws.conjugate_is_the_supremum(case.flat(), delta)


@pytest.mark.parametrize("case", [case for case in CLOSED if "sigma=0" not in case.name], ids=lambda case: case.name)
@settings(max_examples=4)
@given(g=pairs())
def test_biconjugate_is_the_value(case: Case, g: Tensor) -> None:
    laws.biconjugate_is_the_value(case.flat(), g)


@pytest.mark.parametrize("case", NUMERICAL, ids=lambda case: case.name)
def test_biconjugate_is_the_value_on_the_line(case: Case) -> None:
    laws.biconjugate_is_the_value(case.batch(1), torch.tensor([[0.4]], dtype=torch.float64), far=2.0)
