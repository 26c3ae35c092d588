import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import (
    CubicHermiteSpline,
    RegularGridInterpolator,
)

from synthesizer_emulator.emulator.cubics import (
    akima_slopes,
    monotone_slopes,
    through_nodes,
)
from synthesizer_emulator.emulator.tables import (
    LinearTable,
    SmoothTable,
    smoothed,
)

RNG = np.random.default_rng(2)
SHAPES = [(30, 5), (25, 4, 3), (2, 2)]


def make_nodes(shape):
    return [np.cumsum(RNG.uniform(0.2, 1.0, n)) for n in shape]


def make_points(nodes, n):
    low = [x[0] for x in nodes]
    high = [x[-1] for x in nodes]
    return RNG.uniform(low, high, (n, len(nodes)))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_table_agrees_with_scipy(shape):
    nodes, values = make_nodes(shape), RNG.normal(size=(*shape, 2))
    points = make_points(nodes, 50)
    got = jax.jit(jax.vmap(LinearTable(nodes, values)))(jnp.asarray(points))
    expected = RegularGridInterpolator(nodes, values)(points)
    # A thousandth of a cell beside each node belongs to the node.
    np.testing.assert_allclose(got, expected, atol=1e-2)


def test_linear_table_is_exact_on_and_just_beside_a_node():
    nodes = [np.arange(5.0), np.arange(4.0)]
    values = np.zeros((5, 4, 1))
    values[:3] = 1.0
    table = LinearTable(nodes, values)
    for beside in (-5e-4, 0.0, 5e-4):
        assert table(jnp.array([3.0 + beside, 1.7]))[0] == 0
        assert table(jnp.array([2.0 + beside, 1.7]))[0] == 1
    np.testing.assert_allclose(table(jnp.array([2.5, 1.7])), 0.5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_smooth_table_gives_back_the_nodes(shape):
    nodes, values = make_nodes(shape), RNG.normal(size=(*shape, 2))
    table = SmoothTable(nodes, values, np.ones(2))
    mesh = np.stack(np.meshgrid(*nodes, indexing="ij"), -1)
    got = jax.jit(jax.vmap(table))(jnp.asarray(mesh.reshape(-1, len(shape))))
    np.testing.assert_allclose(
        got, values.reshape(-1, 2), rtol=1e-6, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_smooth_table_is_exact_for_linear_functions(shape):
    nodes = make_nodes(shape)
    mesh = np.stack(np.meshgrid(*nodes, indexing="ij"), -1)
    slope = np.arange(1.0, len(shape) + 1)
    values = (mesh @ slope)[..., None] + 3.0
    points = make_points(nodes, 40)
    table = SmoothTable(nodes, values, np.ones(1))
    got = jax.jit(jax.vmap(table))(jnp.asarray(points))
    np.testing.assert_allclose(got[:, 0], points @ slope + 3.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("stored", "points"), [(np.float32, np.float64), (np.float64, np.float32)]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_precisions_may_be_mixed(shape, stored, points, double_precision):
    """At nodes, a rounding beside them, and where another one puts them."""
    nodes = [n.astype(stored) for n in make_nodes(shape)]
    values = RNG.normal(size=(*shape, 2))
    mesh = np.stack(np.meshgrid(*nodes, indexing="ij"), -1)
    mesh = mesh.reshape(-1, len(shape))
    around = [
        mesh.astype(points),
        mesh.astype(np.float32).astype(points),
        np.nextafter(mesh.astype(points), points(-1e3)),
        np.nextafter(mesh.astype(points), points(1e3)),
    ]
    for table in (
        SmoothTable(nodes, values, np.ones(2)),
        LinearTable(nodes, values),
    ):
        evaluate = jax.jit(jax.vmap(table))
        for where in around:
            got = evaluate(jnp.asarray(where))
            np.testing.assert_allclose(
                got, values.reshape(-1, 2), rtol=1e-5, atol=1e-4
            )


def in_common(one, other, nodes, node):
    """The correlation of (n, k) and (n, k) around a node of n."""
    width = (nodes[-1] - nodes[0]) / 50
    near = np.exp(-0.5 * ((nodes - nodes[node]) / width) ** 2)
    near *= np.gradient(nodes)
    both = near @ (one * other).sum(axis=1)
    size = (near @ (one**2).sum(axis=1)) * (near @ (other**2).sum(axis=1))
    return max(both / np.sqrt(size), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(9, 7), (4, 30), (3, 25, 4)])
def test_smooth_table_agrees_with_brute_force(shape):
    """The formula of the docstring, written out with numpy loops."""
    nodes, values = make_nodes(shape), RNG.normal(size=(*shape, 3))
    # Neighbours that have much, little and nothing in common.
    values += 2.0 * RNG.normal(size=(1, *shape[1:], 3))
    metric = np.array([1.0, 2.0, 0.5])
    table = SmoothTable(nodes, values, metric)
    smooth, *slopes, sharp = np.asarray(table.parts[...], np.float64)
    short = [a for a in range(len(shape)) if shape[a] < 20]
    points = make_points(nodes, 20)
    if 1 not in short:
        # Along a long axis another test looks between the nodes.
        points[:, 1] = RNG.choice(nodes[1], 20)
    for point in points:
        expected = np.zeros(3)
        at = [
            int(np.argmin(abs(x - p)))
            for x, p in zip(nodes, point, strict=True)
        ]
        cells = {
            a: min(
                np.searchsorted(nodes[a], point[a], "right") - 1, shape[a] - 2
            )
            for a in short
        }
        for corner in itertools.product((0, 1), repeat=len(short)):
            index = list(at)
            for a, k in zip(short, corner, strict=True):
                index[a] = cells[a] + k
            cell = tuple(index)
            h, g, f = [], [], []
            for a, k in zip(short, corner, strict=True):
                x, c = nodes[a], cells[a]
                width = x[c + 1] - x[c]
                t = (point[a] - x[c]) / width
                h.append(3 * t**2 - 2 * t**3 if k else 1 - 3 * t**2 + 2 * t**3)
                g.append(width * ((t**3 - t**2) if k else t - 2 * t**2 + t**3))
                if 1 not in short:
                    ends = np.take(sharp * metric, [c, c + 1], axis=a)
                    line = list(cell)
                    line[1] = slice(None)
                    line[a] = 0
                    left = ends[tuple(line)]
                    line[a] = 1
                    right = ends[tuple(line)]
                    rho = in_common(left, right, nodes[1], at[1])
                    n = 2 + 10 * (1 - rho) ** 3
                    u = t if k else 1 - t
                    f.append(u**n * (1 + n * (1 - u)))
            expected += np.prod(h) * smooth[cell] + np.prod(f) * sharp[cell]
            for i in range(len(short)):
                others = np.prod(h[:i] + h[i + 1 :])
                expected += g[i] * others * slopes[i][cell]
        np.testing.assert_allclose(
            table(jnp.asarray(point)), expected, atol=5e-5
        )


def test_smoothing_keeps_lines_and_removes_sharp_parts():
    nodes = [np.linspace(0.0, 1.0, 201), np.arange(3.0)]
    line = np.ones((201, 3, 1)) * (2.0 * nodes[0] + 1.0)[:, None, None]
    zigzag = np.resize([1.0, -1.0], 201)[:, None, None]
    smooth = smoothed(nodes, line + 0.1 * zigzag)
    inner = slice(10, -10)
    np.testing.assert_allclose(smooth[inner], line[inner], atol=1e-3)
    # Without a long axis nothing is sharp.
    few = RNG.normal(size=(7, 5, 2))
    np.testing.assert_array_equal(smoothed(make_nodes((7, 5)), few), few)


@pytest.mark.slow
@pytest.mark.parametrize("alike", [True, False])
def test_sharp_parts_are_shared_or_damped(alike):
    """Midway between two nodes of the short axis."""
    nodes = [np.linspace(0.0, 1.0, 200), np.array([0.0, 1.0])]
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(2, 200, 50))
    values = np.stack([one, one if alike else other], axis=1)
    table = SmoothTable(nodes, values, np.ones(50))
    sharp = values - smoothed(nodes, values)
    smooth = 0.5 * (values - sharp).sum(axis=1)
    for node in (40, 120):
        point = jnp.array([nodes[0][node], 0.5])
        left = np.asarray(table(point)) - smooth[node]
        share = np.linalg.norm(left) / np.linalg.norm(sharp[node, 0])
        assert share == pytest.approx(1.0 if alike else 0.0, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 9, 30])
def test_through_nodes_is_the_cubic_of_akima_slopes(n):
    """Against SciPy's Hermite spline, from end to end."""
    (nodes,), values = make_nodes((n,)), RNG.normal(size=(n, 3))
    metric = np.array([1.0, 2.0, 0.5])
    spline = CubicHermiteSpline(
        nodes, values, akima_slopes(nodes, values, metric)
    )
    points = make_points([nodes], 60)[:, 0]
    table = jnp.asarray(values)
    interpolate = jax.vmap(
        lambda x: through_nodes(
            jnp.asarray(nodes),
            lambda j: jax.lax.dynamic_slice_in_dim(table, j, 6),
            x,
            jnp.asarray(metric),
        )
    )
    got = jax.jit(interpolate)(jnp.asarray(points))
    np.testing.assert_allclose(got, spline(points), atol=5e-5)


@pytest.mark.slow
def test_what_is_added_does_not_disturb_a_long_axis():
    """Zero at the nodes of the short axis: only the table is left there."""
    nodes, values = make_nodes((30, 5)), RNG.normal(size=(30, 5, 2))
    table = SmoothTable(nodes, values, np.ones(2))

    def added(x):
        bump = jnp.prod(x[1] - jnp.asarray(nodes[1])) * jnp.cos(9 * x[0])
        return jnp.array([bump, 2 * bump])

    for x in make_points(nodes, 20):
        at_node = jnp.array([x[0], nodes[1][2]])
        np.testing.assert_allclose(
            table(at_node, added), table(at_node), atol=1e-4
        )
        # Between them it counts, and in full at the nodes of the long one.
        point = jnp.array([nodes[0][11], x[1]])
        np.testing.assert_allclose(
            table(point, added),
            table(point) + added(point),
            rtol=1e-4,
            atol=1e-4,
        )


def test_monotone_slopes_keep_cubics_between_their_ends():
    x, y = np.cumsum(RNG.uniform(0.5, 1.5, 12)), RNG.normal(size=(12, 3))
    spline = CubicHermiteSpline(x, y, monotone_slopes(x, y))
    for i in range(11):
        found = spline(np.linspace(x[i], x[i + 1], 20))
        low, high = np.sort(y[i : i + 2], axis=0)
        assert (found >= low - 1e-9).all() and (found <= high + 1e-9).all()


def test_akima_slopes_do_not_depend_on_the_basis():
    x, y = np.cumsum(RNG.uniform(0.5, 1.5, 12)), RNG.normal(size=(12, 4))
    rotation, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
    one = np.ones(4)
    direct = akima_slopes(x, y @ rotation, one)
    turned = akima_slopes(x, y, one) @ rotation
    np.testing.assert_allclose(direct, turned, atol=1e-4)


def test_akima_slopes_ignore_an_outlier_on_the_other_side():
    """Left of a kink the slope stays that of the straight part."""
    x = np.arange(10.0)
    y = np.where(x > 5, 10.0 * (x - 5), 0.0)[:, None]
    slopes = akima_slopes(x, y, np.ones(1))[:, 0]
    np.testing.assert_allclose(slopes[:5], 0.0, atol=1e-6)
    np.testing.assert_allclose(slopes[7:], 10.0, atol=1e-5)


@pytest.mark.parametrize("kind", [LinearTable, SmoothTable])
def test_points_outside_get_the_nearest_edge(kind):
    nodes, values = make_nodes((30, 4)), RNG.normal(size=(30, 4, 2))
    arguments = (np.ones(2),) if kind is SmoothTable else ()
    table = kind(nodes, values, *arguments)
    inside = jnp.array([nodes[0][0], nodes[1][-1]])
    outside = jnp.array([nodes[0][0] - 5, nodes[1][-1] + 5])
    np.testing.assert_allclose(table(outside), table(inside), atol=1e-6)


@pytest.mark.slow
def test_smooth_table_has_continuous_first_derivatives():
    nodes, values = make_nodes((30, 6)), RNG.normal(size=(30, 6, 2))
    table = SmoothTable(nodes, values, np.ones(2))
    slope = jax.jacfwd(table)
    node = jnp.array([nodes[0][7], 0.5 * (nodes[1][1] + nodes[1][2])])
    step = jnp.array([1e-4, 0.0])
    np.testing.assert_allclose(
        slope(node - step), slope(node + step), atol=2e-2
    )
