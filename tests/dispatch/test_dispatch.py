"""One way into PyTorch: every spelling of every operator, seen, answered, and overwriting where a network does."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import get_testing_overrides

from gradsculpt.dispatch import Call, Dispatch, Handler, Kind
from gradsculpt.dispatch.operators import of_kind, spelling
from tests.dispatch.cases import ARGUMENTS, CASES, KINDS, Case, Function, images

by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
in_place = pytest.mark.parametrize("case", [case for case in CASES if case.in_place], ids=lambda case: case.label)


def call_of(function: Function, *args: Any, **kwargs: Any) -> Call:
    return Call.of(function, args, kwargs)


def shifted(seen: list[Call]) -> Callable[[Call], Any]:
    """Return a handler that answers with 3 more."""

    def handler(call: Call) -> Any:
        seen.append(call)
        return call() + 3

    return handler


def test_the_kinds_are_those_written_down() -> None:
    assert {kind: set(of_kind(kind)) for kind in Kind} == KINDS
    assert {case.name for case in CASES} == set().union(*KINDS.values()) - {"native_layer_norm", "pdist"}


@by_case
def test_every_spelling_is_recognised_and_answered(case: Case) -> None:
    x, seen = case.images(), list[Call]()
    expected = case(x.clone()) + 3
    given = x.clone()
    with Dispatch({case.name: shifted(seen)}):
        answer = case(given)
    assert [call.name for call in seen] == [case.name]
    assert (seen[0].overwritten is not None) is case.in_place
    torch.testing.assert_close(answer, expected)
    torch.testing.assert_close(given, expected if case.in_place else x)


@by_case
def test_a_kind_answers_for_its_operators_and_a_name_before_it(case: Case) -> None:
    x = case.images()
    kind = next(kind for kind, names in KINDS.items() if case.name in names)
    by_kind, by_name = list[Call](), list[Call]()
    with Dispatch({kind: shifted(by_kind)}):
        case(x.clone())
    assert len(by_kind) == 1
    both: dict[str | Kind, Handler] = {kind: shifted(by_kind), case.name: shifted(by_name)}
    with Dispatch(both):
        case(x.clone())
    assert (len(by_kind), len(by_name)) == (1, 1)


@by_case
def test_a_call_computes_the_same_out_of_place(case: Case) -> None:
    x, seen = case.images(), list[Call]()
    expected = case(x.clone())

    def handler(call: Call) -> Any:
        seen.append(call)
        return call.of_tensors(*call.tensors)

    given = x.clone()
    with Dispatch({case.name: handler}, substitute=True):
        torch.testing.assert_close(case(given), expected)
    assert torch.equal(given, x)
    torch.testing.assert_close(seen[0].given()(), expected)
    for first in seen[0].operator.parameters[:1]:
        torch.testing.assert_close(seen[0].given(**{first: x.flip(0)})(), case(x.flip(0).clone()))


@in_place
def test_what_is_overwritten_is_seen_by_result_and_by_tensor(case: Case) -> None:
    x = case.images()
    expected = case(x.clone()) + 3
    for substitute in (False, True):
        given = x.clone()
        mode = Dispatch({case.name: shifted([])}, substitute=substitute)
        with mode:
            answer = case(given)
            used = torch.stack([given, answer]).sum(0)
        torch.testing.assert_close(used, 2 * expected)
        torch.testing.assert_close(mode.current({"t": [given]})["t"][0], expected)
        assert torch.equal(given, x) is substitute


@in_place
def test_a_part_of_a_tensor_is_overwritten_in_it(case: Case) -> None:
    x = case.images()
    count = len(ARGUMENTS.get(case.name, (x,))[0]) if case.name in PAIRS else 1
    expected = torch.cat([case(x[:count].clone()) + 3, x[count:]])
    for substitute in (False, True):
        given, seen = x.clone(), list[Call]()
        with Dispatch({case.name: shifted(seen)}, substitute=substitute):
            case(given[:count])
        torch.testing.assert_close(given, expected)
        # Where derivatives may need it, what a handler gets is not what is overwritten.
        assert (seen[0].tensors[0].data_ptr() != given.data_ptr()) is substitute


PAIRS = ("add", "sub", "mul", "multiply", "div", "divide", "true_divide")
"""Operators that are tried with a second tensor of the same size."""


@in_place
def test_what_no_handler_answers_is_overwritten_by_the_function(case: Case) -> None:
    x = case.images()
    for otherwise, substitute in (
        (None, True),
        (lambda call: NotImplemented, True),
        (lambda call: NotImplemented, False),
    ):
        given = x.clone()
        with Dispatch({}, otherwise, substitute=substitute):
            answer = case(given)
        assert answer is given
        torch.testing.assert_close(given, case(x.clone()))


KNOWN: dict[Function, Function] = {
    getattr(F, f"{kind}max_pool{n}d"): getattr(F, f"{kind}max_pool{n}d_with_indices")
    for n in (1, 2, 3)
    for kind in ("", "adaptive_")
}
"""Functions that choose between two, by that of the two which has all the parameters."""


def signature(function: Function) -> inspect.Signature | None:
    """Return what PyTorch itself says that a function takes."""
    overrides = get_testing_overrides()
    if inspect.isfunction(function):
        return inspect.signature(KNOWN.get(function, function))
    return inspect.signature(overrides[function]) if function in overrides else None


def test_parameters_are_those_that_pytorch_says() -> None:
    checked = set()
    for case in CASES:
        takes, operator = signature(case.function), spelling(case.function).operator
        if takes is None or not operator.parameters:
            continue
        checked.add(operator.name)
        parameters = [p for p in takes.parameters.values() if p.name not in ("out", "inplace")]
        for name, parameter in zip(operator.parameters, parameters, strict=False):
            assert parameter.name == name, case.label
            default = operator.defaults.get(name, inspect.Parameter.empty)
            # PyTorch's table gives None for the value of padding, and a number for an eps that follows the dtype.
            known = (operator.name, name) in (("pad", "value"), ("constant_pad_nd", "value"), ("rms_norm", "eps"))
            assert default == parameter.default or known, case.label
        assert parameters[0].name == operator.parameters[0], case.label
    assert checked >= KINDS[Kind.WEIGHTED] | KINDS[Kind.MAXIMUM] | KINDS[Kind.CLAMP] | {"batch_norm", "pad", "flatten"}


def test_no_function_of_pytorch_by_an_operators_name_is_missing() -> None:
    names = set().union(*KINDS.values())
    for function in get_testing_overrides():
        written = getattr(function, "__name__", "")
        if written.strip("_") in names and written not in ("transpose_", "__rsub__"):
            call = call_of(function, torch.zeros(1), *ARGUMENTS.get(written.strip("_"), ()))
            overwrites = written.endswith("_") and not written.startswith("__")
            assert (call.overwritten is not None) is overwrites, written


@by_case
def test_arguments_are_the_same_by_position_and_by_name(case: Case) -> None:
    operator = spelling(case.function).operator
    x, given = case.images(), ARGUMENTS.get(case.name, ())
    if len(operator.parameters) < len(given) + 1:
        return  # nobody asks for these by name
    plain = call_of(case.function, x, *given, **case.kwargs)
    named = call_of(case.function, x, **dict(zip(operator.parameters[1:], given, strict=False)), **case.kwargs)
    assert list(plain.arguments) == list(operator.parameters) == list(named.arguments)
    assert all(plain[name] is named[name] for name in operator.parameters[1:])
    assert plain[operator.parameters[0]] is x
    assert plain["nothing"] is None
    assert all(plain[name] == default for name, default in list(operator.defaults.items())[len(given) :])
    assert [id(t) for t in plain.given().tensors] == [id(t) for t in plain.tensors]


@by_case
def test_the_first_argument_may_be_given_by_name(case: Case) -> None:
    names = spelling(case.function).operator.parameters
    if not case.label.startswith(("torch.", "functional.")) or len(names) < 1 + len(ARGUMENTS.get(case.name, ())):
        return  # a method of tensors, or nobody asks for these by name
    x, expected = case.images(), case(case.images())
    given = dict(zip(names[1:], ARGUMENTS.get(case.name, ()), strict=False))
    seen: list[Call] = []
    with Dispatch({case.name: shifted(seen)}):
        answer = case.function(**{names[0]: x}, **given, **case.kwargs)
    torch.testing.assert_close(answer, expected + 3)
    assert seen[0][names[0]].data_ptr() == x.data_ptr()


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_two_orders_of_arguments_are_the_same_by_name(name: str) -> None:
    x, mean, variance, weight, bias = images(), *(torch.rand(4).double() for _ in range(4))
    uses = {"batch_norm": "training", "instance_norm": "use_input_stats"}[name]
    ours = call_of(getattr(F, name), x, mean, variance, weight, bias, False, 0.2, 1e-3)
    other = call_of(getattr(torch, name), x, weight, bias, mean, variance, False, 0.2, 1e-3, True)
    assert ours.name == other.name == name
    for argument in ("input", "running_mean", "running_var", "weight", "bias", uses, "momentum", "eps"):
        assert ours[argument] is other[argument], argument
    torch.testing.assert_close(ours(), other())


def test_functions_that_are_composed_of_others_are_looked_into() -> None:
    torch.manual_seed(0)
    layer, x, seen = nn.MultiheadAttention(6, 2, batch_first=True).double(), images(), []

    def note(call: Call) -> Any:
        seen.append(call.name)
        return NotImplemented

    expected = layer(x, x, x, need_weights=False)[0]
    with Dispatch({}, note), Dispatch({"linear": lambda call: call()}):
        answer = layer(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(answer, expected)
    assert "scaled_dot_product_attention" in seen
    assert "multi_head_attention_forward" not in seen
    doubled = Dispatch({"multi_head_attention_forward": lambda call: (2 * call()[0], None)})
    with doubled:  # but one that is to be answered as a whole is
        torch.testing.assert_close(layer(x, x, x, need_weights=False)[0], 2 * expected)


def test_pooling_that_says_where_the_maxima_are_is_another_function() -> None:
    x = images()
    values, places = call_of(torch.adaptive_max_pool1d, x, 2)()
    assert values.shape == places.shape
    assert call_of(torch.adaptive_max_pool1d, x, 2).operator.kind is Kind.OTHER
    seen = list[Call]()
    with Dispatch({Kind.MAXIMUM: shifted(seen)}):
        F.max_pool1d(x, 2, return_indices=True)
    assert not seen


INF = float("inf")
LEVEL = torch.zeros(())
CUTS: list[tuple[Call, tuple[float, float] | None, bool]] = [
    (call_of(F.relu, LEVEL), (0, INF), True),
    (call_of(Tensor.relu_, LEVEL), (0, INF), True),
    (call_of(F.relu6, LEVEL), (0, 6), True),
    (call_of(F.hardtanh, LEVEL), (-1, 1), False),
    (call_of(F.hardtanh, LEVEL, 0, 4), (0, 4), True),
    (call_of(F.hardtanh, LEVEL, max_val=4, min_val=0.0), (0, 4), True),
    (call_of(Tensor.clamp, LEVEL, 0), (0, INF), True),
    (call_of(torch.clip, LEVEL, min=0, max=2), (0, 2), True),
    (call_of(torch.clamp, LEVEL, max=2), (-INF, 2), False),
    (call_of(torch.clamp_min, LEVEL, 0), (0, INF), True),
    (call_of(torch.clamp_min, LEVEL, 0.5), (0.5, INF), False),
    (call_of(torch.clamp, LEVEL, 0, LEVEL), None, True),
    (call_of(torch.clamp, LEVEL, LEVEL), None, False),
    (call_of(F.threshold, LEVEL, 0, 0), (0, INF), True),
    (call_of(F.threshold, LEVEL, 0, 1), None, True),
    (call_of(F.leaky_relu, LEVEL), None, True),
    (call_of(F.gelu, LEVEL), None, True),
    (call_of(torch.sigmoid, LEVEL), None, False),
    (call_of(torch.add, LEVEL, 1), None, False),
]


@pytest.mark.parametrize(("call", "cut", "rectifies"), CUTS, ids=lambda value: getattr(value, "name", None))
def test_cuts_and_rectifiers(call: Call, cut: tuple[float, float] | None, rectifies: bool) -> None:
    assert call.cut == cut
    assert call.is_rectifier is rectifies
    assert call.is_activation is (rectifies or call.name == "sigmoid")


def test_modes_nest_as_their_blocks_do() -> None:
    order: list[str] = []

    def says(name: str) -> Callable[[Call], Any]:
        def handler(call: Call) -> Any:
            order.append(name)
            return 2 * call()

        return handler

    x = torch.ones(3)
    with Dispatch({"relu": says("outer")}), Dispatch({"relu": says("inner")}):
        assert torch.equal(x.relu(), 4 * x)
    assert order == ["inner", "outer"]
    with Dispatch({"relu": says("outer")}), Dispatch({"relu": lambda call: NotImplemented}):
        assert torch.equal(x.relu(), 2 * x)
    with Dispatch({"relu": says("outer")}), Dispatch({}):
        assert torch.equal(x.relu(), 2 * x)
    assert torch.equal(x.relu(), x)


def test_modules_are_seen_and_a_failure_leaves_nothing_on() -> None:
    x, seen = images(2), list[Call]()
    with Dispatch({"relu": shifted(seen)}):
        nn.Sequential(nn.ReLU(), nn.ReLU(inplace=True))(x)
    assert [call.overwritten is not None for call in seen] == [False, True]
    with pytest.raises(RuntimeError), Dispatch({"relu": shifted(seen)}):
        x.relu().view(-1, 7)
    x.relu()
    assert len(seen) == 3


def test_functions_that_the_table_lacks_are_left_alone_or_go_by_their_own_name() -> None:
    x, seen = images(), list[Call]()
    with Dispatch({"relu": shifted(seen)}):
        torch.testing.assert_close(x.exp(), torch.exp(x))
        given = x.clone()
        assert given.exp_() is given
    assert not seen
    expected = x.exp() + 3
    for mode in (Dispatch({"exp": shifted(seen)}), Dispatch({}, otherwise=shifted(seen))):
        with mode:
            answer = x.exp()
        torch.testing.assert_close(answer, expected)
        assert (seen[-1].name, seen[-1].operator.kind) == ("exp", Kind.OTHER)
    # A function that gives a tensor another shape overwrites none of its entries.
    given = x.clone()
    with Dispatch({}, Call.__call__, substitute=True):
        assert given.transpose_(1, 2) is given
    assert given.shape == (2, 6, 4)


def test_views_are_copies_where_the_layout_asks_for_one() -> None:
    x = images(2).contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError):
        x.view(2, -1)
    with Dispatch({"view": Call.__call__}):
        assert torch.equal(x.view(2, -1), x.flatten(1))
        assert torch.equal(x.view((2, -1)), x.flatten(1))
        assert torch.equal(x.view(size=(2, -1)), x.flatten(1))
        plain = images(2)
        assert plain.view(2, -1).data_ptr() == plain.data_ptr()
        assert torch.equal(plain.view(torch.int64), torch.from_numpy(plain.numpy().view("int64")))
        assert torch.equal(plain.view(dtype=torch.int64), torch.from_numpy(plain.numpy().view("int64")))


def test_answers_are_followed_to_the_last_one() -> None:
    mode = Dispatch({"relu": lambda call: call() + 1, "add": Call.__call__}, substitute=True)
    x = -torch.ones(2)
    other = torch.zeros(2)
    with mode:
        x.relu_()
        x.relu_()
        x += 1
        both = torch.stack((x, other))
    assert both.tolist() == [[3, 3], [0, 0]]
    current = mode.current(({"x": x}, [x, 1], "word", None))
    assert current[0]["x"].tolist() == current[1][0].tolist() == [3, 3]
    assert current[1][1:] == [1]
    assert current[2:] == ("word", None)
    assert mode.current(other) is other


def test_a_function_that_changes_nothing_is_its_own_answer() -> None:
    x = images()
    mode = Dispatch({}, Call.__call__, substitute=True)
    with mode:
        assert F.dropout(x, 0.5, training=False, inplace=True) is x
        assert torch.equal(x + 0, x)
    assert mode.current(x) is x


def test_tensors_keep_their_order() -> None:
    x, weight, bias = images(2), images(2)[:, :, :2, :2], torch.rand(2).double()
    call = call_of(F.conv2d, x, bias=bias, weight=weight, padding=1)
    assert [id(t) for t in call.tensors] == [id(t) for t in (x, bias, weight)]
    assert [id(t) for t in call.given().tensors] == [id(t) for t in (x, weight, bias)]
    torch.testing.assert_close(call.of_tensors(2 * x, bias, weight), F.conv2d(2 * x, weight, bias, padding=1))
    changed = call.given(bias=None, padding=0)
    torch.testing.assert_close(changed(), F.conv2d(x, weight))
    assert call["padding"] == 1


def test_hooks_on_saved_tensors_are_refused_within_a_mode_and_no_longer_after_it() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    t = torch.rand(2, 3, 4, requires_grad=True)
    for _ in range(2):
        with Dispatch({"relu": lambda call: call()}):  # which looks into attention by being entered again
            attention(t, t, t, need_weights=False)
            with pytest.raises(RuntimeError, match=r"torch\.utils\.checkpoint"), torch.autograd.graph.save_on_cpu():
                t.exp()
        with torch.autograd.graph.save_on_cpu():
            t.exp().sum().backward()
    with torch.autograd.graph.save_on_cpu(), Dispatch({}):  # hooks of the caller's own stay in force
        t.exp().sum().backward()
