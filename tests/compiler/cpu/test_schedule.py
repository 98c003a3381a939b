"""When operations run: each after what it needs, each unit of each call once, writes last."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from distflow.base import dtypes
from distflow.compiler.cpu.operations import Arrival, Departure, Host, Native
from distflow.compiler.cpu.schedule import deal, schedule
from distflow.compiler.cpu.task import Call, Kernel
from distflow.graph.ir import Value


def value(resource=False):
    return Value(dtypes.float32, (2,), resource)


def node(name="cumsum", effect=""):
    return SimpleNamespace(primitive=SimpleNamespace(name=name), effect=effect)


def call(units=1, work=100):
    return Call(None, (), (), units, work)


def native(reads, writes, calls=1):
    return Native([node()], reads, writes, "native", Kernel(tuple(call() for _ in range(calls))))


def host(reads, writes, name="cumsum", effect=""):
    return Host([node(name, effect)], reads, writes, "host")


@st.composite
def programs(draw):
    """Operations in an order in which they can run, and the variables that they write."""
    variables = [value(resource=True) for _ in range(draw(st.integers(0, 3)))]
    written = set(variables)
    made, operations = [value(), value()], []
    for _ in range(draw(st.integers(1, 14))):
        reads = draw(st.lists(st.sampled_from([*made, *variables]), max_size=3, unique=True))
        new = [value() for _ in range(draw(st.integers(1, 2)))]
        kind = draw(st.sampled_from(["native", "native", "host", "effect", "read", "check"]))
        if kind == "native":
            operations.append(native(reads, new, draw(st.integers(1, 3))))
        elif kind == "check":
            checked = native(reads, new)
            operations += [checked, Host([node()], [], [], "check", "", checked)]
        elif kind == "read":
            operations.append(host(reads, new, "read_variable", "read"))
        else:
            operations.append(host(reads, new, effect="order" if kind == "effect" else ""))
        made += new
    for v in variables:
        reads = draw(st.lists(st.sampled_from([*made, *variables]), max_size=2, unique=True))
        # Variables that read each other's old values could not be written one after the other.
        reads = [r for r in reads if r not in written or r is v]
        operations.append(native(reads, [v]))
    return operations, written


def times(found):
    """First and last time of each operation, from the segments themselves."""
    spans, clock = {}, 0
    for segment in found.segments:
        for phase in segment.phases:
            for operation, _ in phase:
                spans[operation] = (spans.get(operation, (clock, 0))[0], clock)
            clock += 1
        for one in segment.host:
            assert one not in spans
            spans[one] = (clock, clock)
            clock += 1
    return spans


SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)


@SETTINGS
@given(programs())
def test_each_operation_runs_once_its_calls_one_after_the_other(program):
    operations, written = program
    found, _ = schedule(operations, written)
    ran = {}
    for segment in found.segments:
        for phase in segment.phases:
            assert len({id(c) for _, c in phase}) == len(phase)
            for operation, one in phase:
                ran.setdefault(operation, []).append(one)
    for operation in operations:
        if isinstance(operation, Native):
            assert [id(c) for c in ran[operation]] == [id(c) for c in operation.calls]
    hosts = [h for segment in found.segments for h in segment.host]
    assert sorted(map(id, hosts)) == sorted(id(o) for o in operations if isinstance(o, Host))


@SETTINGS
@given(programs())
def test_operations_run_after_what_they_need(program):
    operations, written = program
    spans = times(schedule(operations, written)[0])
    maker = {v: o for o in operations for v in o.writes if v not in written}
    for operation in operations:
        for v in operation.reads:
            if v in maker:
                assert spans[maker[v]][1] < spans[operation][0]
        if isinstance(operation, Host) and operation.checks is not None:
            assert spans[operation.checks][1] < spans[operation][0]


@SETTINGS
@given(programs())
def test_a_variable_is_written_after_all_that_read_it(program):
    operations, written = program
    spans = times(schedule(operations, written)[0])
    for writer in operations:
        for v in written.intersection(writer.writes):
            for reader in operations:
                if reader is not writer and v in reader.reads:
                    assert spans[reader][1] < spans[writer][0]


@SETTINGS
@given(programs())
def test_effects_keep_their_order(program):
    operations, written = program
    spans = times(schedule(operations, written)[0])
    effects = [spans[o] for o in operations if isinstance(o, Host) and o.node.effect]
    assert effects == sorted(effects)


def test_an_effect_that_waits_lets_no_later_one_pass():
    v, x = value(resource=True), value()
    checked = native([], [value()])
    check = Host([node()], [], [], "check", "", checked)
    first, second = host([x], [value()], effect="order"), host([], [value()], effect="order")
    spans = times(schedule([native([], [v, x]), first, second, checked, check], {v})[0])
    assert spans[first] < spans[second]


@SETTINGS
@given(programs())
def test_variables_are_written_after_all_that_can_fail_or_it_is_said(program):
    operations, written = program
    found, late = schedule(operations, written)
    spans = times(found)
    writes = [spans[o][0] for o in operations if (written - late).intersection(o.writes)]
    fails = [spans[o][1] for o in operations if isinstance(o, Host) and o.can_fail]
    if writes and fails:
        assert max(fails) < min(writes)


def test_a_failure_that_hangs_on_a_written_variable_is_late():
    v, x = value(resource=True), value()
    assert schedule([native([], [v]), host([x], [value()])], {v})[1] == set()
    # One operation writes the variable and a value that the host wants.
    assert schedule([native([], [v, x]), host([x], [value()])], {v})[1] == {v}


def test_what_waits_for_nothing_runs_at_once():
    operations = [native([], [value()]) for _ in range(4)]
    found, _ = schedule(operations, set())
    assert [len(phase) for phase in found.segments[0].phases] == [4]


def test_spans_say_when_operations_run():
    a, b, c = value(), value(), value()
    operations = [native([], [a], 2), native([a], [b]), host([b], [c]), native([c], [value()])]
    found, _ = schedule(operations, set())
    first, second, third, fourth = (found.spans[o] for o in operations)
    assert first[0] < first[1] < second[0] <= second[1] < third[0] <= third[1] < fourth[0]


PHASES = st.lists(
    st.tuples(st.integers(0, 50), st.one_of(st.integers(0, 2_000), st.integers(0, 10**6))),
    min_size=1, max_size=8,
)  # fmt: skip


@SETTINGS
@given(PHASES, st.integers(1, 5))
def test_each_unit_is_dealt_once_and_in_order(sizes, threads):
    phase = [(native([], []), call(units, work)) for units, work in sizes]
    parts = deal(phase, threads)
    assert len(parts) == threads
    order = {id(c): i for i, (_, c) in enumerate(phase)}
    for part in parts:
        places = [order[id(c)] for _, c, _, _ in part]
        assert places == sorted(set(places))  # one range of a call for each thread
    for operation, one in phase:
        ranges = [
            (begin, end) for part in parts for o, c, begin, end in part
            if c is one and o is operation and end > begin
        ]  # fmt: skip
        assert [u for begin, end in ranges for u in range(begin, end)] == list(range(one.units))


@SETTINGS
@given(st.integers(2, 5), st.lists(st.integers(20, 200), min_size=1, max_size=5))
def test_threads_get_equal_parts_of_fine_work(threads, sizes):
    phase = [(native([], []), call(units, units * 1_000)) for units in sizes]
    shares = [sum(end - begin for _, _, begin, end in part) for part in deal(phase, threads)]
    assert max(shares) - min(shares) <= 2


def test_little_work_is_one_threads():
    phase = [(native([], []), call(4, 300)), (native([], []), call(1, 200))]
    first, second = deal(phase, 2)
    assert [(begin, end) for _, _, begin, end in first] == [(0, 4), (0, 1)]
    assert second == []


def departure(reads, early=True):
    leaving = Departure([node(effect="order")], reads, [], "leaves", is_early=early)
    arriving = Arrival([node(effect="order")], [], [value()], "arrives", departure=leaving)
    return leaving, arriving


def test_a_bucket_leaves_in_the_midst_of_work_that_does_not_wait_for_it():
    x, y = value(), value()
    first, second = native([], [x]), native([x], [y], calls=3)
    for c in second.calls:
        object.__setattr__(c, "work", 1_000_000)
    leaving, arriving = departure([x])
    spans = times(schedule([first, second, leaving, arriving], set())[0])
    assert spans[first] < spans[leaving] < spans[second] < spans[arriving]


def test_a_bucket_does_not_interrupt_work_that_is_soon_done():
    x, y = value(), value()
    first, second = native([], [x]), native([x], [y], calls=3)
    leaving, arriving = departure([x])
    found, _ = schedule([first, second, leaving, arriving], set())
    assert len([s for s in found.segments if s.phases]) == 1
    assert times(found)[second] < times(found)[leaving] < times(found)[arriving]


def test_buckets_leave_in_their_order_whatever_is_ready_first():
    x, y = value(), value()
    first, second = native([], [x]), native([x], [y], calls=3)
    for c in second.calls:
        object.__setattr__(c, "work", 1_000_000)
    late, late_arrives = departure([y])
    ready, ready_arrives = departure([x])
    operations = [first, second, late, late_arrives, ready, ready_arrives]
    spans = times(schedule(operations, set())[0])
    assert spans[second] < spans[late] < spans[ready] < spans[ready_arrives]


def test_variables_are_written_when_all_buckets_have_arrived():
    v, w = value(resource=True), value(resource=True)
    x, y = value(), value()
    first, first_arrives = departure([x])
    second, second_arrives = departure([y])
    update = native([first_arrives.writes[0]], [v])
    other = native([second_arrives.writes[0]], [w])
    operations = [native([], [x]), native([], [y]), first, first_arrives, update]
    operations += [second, second_arrives, other]
    spans = times(schedule(operations, {v, w})[0])
    assert max(spans[first_arrives], spans[second_arrives]) < min(spans[update], spans[other])


def test_long_operations_do_not_overtake_each_other():
    def long(reads, writes):
        return Native([node()], reads, writes, "long", Kernel((call(work=1_000_000),)))

    x, a, b, c, d = (value() for _ in range(5))
    first, second, third = long([x], [a]), native([a], [b]), long([b], [c])
    free, short = long([x], [d]), native([x], [value()])
    spans = times(schedule([first, second, third, free, short], set())[0])
    assert spans[short] == spans[first]
    assert spans[free] == spans[third]
