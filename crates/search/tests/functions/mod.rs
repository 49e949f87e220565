//! Functions that samplers are compared on; `benches/peers/search/functions.py` has the
//! same ones.

use std::f64::consts::{E, PI, TAU};

use atoll_search::{Domain, Draw, Parameter, Point, Space, Value};

/// A function with the space it is searched in.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) space: Space,
    value: fn(&Named<'_>) -> f64,
    /// The standard deviation of the noise on top.
    pub(crate) noise: f64,
}

impl Function {
    /// The value without noise.
    pub(crate) fn value(&self, point: &Point) -> f64 {
        (self.value)(&Named {
            space: &self.space,
            point,
        })
    }

    /// What a trial measures.
    pub(crate) fn measured(&self, point: &Point, seed: i64, trial: u64) -> f64 {
        let unit = |name| {
            let trial = trial as i64;
            let draw = Draw { seed, trial, name };
            draw.unit()
        };
        let radius = (-2.0 * (1.0 - unit("radius")).ln()).sqrt();
        self.value(point) + self.noise * radius * (TAU * unit("angle")).cos()
    }
}

/// The values of a point by name.
struct Named<'a> {
    space: &'a Space,
    point: &'a Point,
}

impl Named<'_> {
    fn find(&self, name: &str) -> Option<Value> {
        let named = self.space.dimensions().iter().zip(self.point);
        let mut named = named.filter(|(d, value)| d.name == name && value.is_some());
        named.next().and_then(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> f64 {
        match self.find(name) {
            Some(Value::Float(x)) => x,
            Some(Value::Int(n)) => n as f64,
            Some(Value::Choice(n)) => n as f64,
            None => f64::NAN,
        }
    }

    fn choice(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    fn all(&self) -> Vec<f64> {
        (0..self.point.len())
            .map(|n| self.number(&format!("x{n}")))
            .collect()
    }
}

fn parameter(name: &str, domain: Domain) -> Parameter {
    Parameter {
        name: name.to_string(),
        domain,
    }
}

fn float(name: &str, low: f64, high: f64) -> Parameter {
    let (log, step) = (false, None);
    parameter(
        name,
        Domain::Float {
            low,
            high,
            log,
            step,
        },
    )
}

fn log(name: &str, low: f64, high: f64) -> Parameter {
    let (log, step) = (true, None);
    parameter(
        name,
        Domain::Float {
            low,
            high,
            log,
            step,
        },
    )
}

fn int(name: &str, low: i64, high: i64) -> Parameter {
    let (log, step) = (false, 1);
    parameter(
        name,
        Domain::Int {
            low,
            high,
            log,
            step,
        },
    )
}

fn cube(count: usize, low: f64, high: f64) -> Space {
    let all: Vec<_> = (0..count)
        .map(|n| float(&format!("x{n}"), low, high))
        .collect();
    Space::new(&all).unwrap()
}

/// All twelve.
pub(crate) fn functions() -> Vec<Function> {
    let function = |name, space, value: fn(&Named<'_>) -> f64, noise| Function {
        name,
        space,
        value,
        noise,
    };
    let plane =
        || Space::new(&[float("x0", -5.0, 10.0), float("x1", 0.0, 15.0)]).unwrap();
    vec![
        function("branin", plane(), |p| branin(&p.all()), 0.0),
        function(
            "hartmann_3",
            cube(3, 0.0, 1.0),
            |p| hartmann_3(&p.all()),
            0.0,
        ),
        function(
            "hartmann_6",
            cube(6, 0.0, 1.0),
            |p| hartmann_6(&p.all()),
            0.0,
        ),
        function(
            "ackley_5",
            cube(5, -32.768, 32.768),
            |p| ackley(&p.all()),
            0.0,
        ),
        function(
            "rosenbrock_4",
            cube(4, -5.0, 10.0),
            |p| rosenbrock(&p.all()),
            0.0,
        ),
        function("levy_5", cube(5, -10.0, 10.0), |p| levy(&p.all()), 0.0),
        function(
            "styblinski_tang_4",
            cube(4, -5.0, 5.0),
            |p| styblinski(&p.all()),
            0.0,
        ),
        function("mixed", mixed_space(), mixed, 0.0),
        function("optimizers", optimizer_space(), optimizers, 0.0),
        function("layers", layer_space(), layers, 0.0),
        function("branin_noisy", plane(), |p| branin(&p.all()), 5.0),
        function(
            "hartmann_6_noisy",
            cube(6, 0.0, 1.0),
            |p| hartmann_6(&p.all()),
            0.2,
        ),
    ]
}

fn branin(x: &[f64]) -> f64 {
    let bent = x[1] - 5.1 / (4.0 * PI * PI) * x[0] * x[0] + 5.0 / PI * x[0] - 6.0;
    bent * bent + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x[0].cos() + 10.0
}

const HEIGHTS: [f64; 4] = [1.0, 1.2, 3.0, 3.2];

fn hartmann(x: &[f64], widths: &[&[f64]; 4], middles: &[&[f64]; 4]) -> f64 {
    let hill = |n: usize| {
        let squares = x.iter().enumerate().map(|(k, x)| {
            widths[n][k] * (x - 1e-4 * middles[n][k]) * (x - 1e-4 * middles[n][k])
        });
        HEIGHTS[n] * (-squares.sum::<f64>()).exp()
    };
    -(0..4).map(hill).sum::<f64>()
}

fn hartmann_3(x: &[f64]) -> f64 {
    let widths: [&[f64]; 4] = [
        &[3.0, 10.0, 30.0],
        &[0.1, 10.0, 35.0],
        &[3.0, 10.0, 30.0],
        &[0.1, 10.0, 35.0],
    ];
    let middles: [&[f64]; 4] = [
        &[3689.0, 1170.0, 2673.0],
        &[4699.0, 4387.0, 7470.0],
        &[1091.0, 8732.0, 5547.0],
        &[381.0, 5743.0, 8828.0],
    ];
    hartmann(x, &widths, &middles)
}

fn hartmann_6(x: &[f64]) -> f64 {
    let widths: [&[f64]; 4] = [
        &[10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        &[0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        &[3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        &[17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    let middles: [&[f64]; 4] = [
        &[1312.0, 1696.0, 5569.0, 124.0, 8283.0, 5886.0],
        &[2329.0, 4135.0, 8307.0, 3736.0, 1004.0, 9991.0],
        &[2348.0, 1451.0, 3522.0, 2883.0, 3047.0, 6650.0],
        &[4047.0, 8828.0, 8732.0, 5743.0, 1091.0, 381.0],
    ];
    hartmann(x, &widths, &middles)
}

fn ackley(x: &[f64]) -> f64 {
    let count = x.len() as f64;
    let squares = x.iter().map(|x| x * x).sum::<f64>() / count;
    let waves = x.iter().map(|x| (TAU * x).cos()).sum::<f64>() / count;
    -20.0 * (-0.2 * squares.sqrt()).exp() - waves.exp() + 20.0 + E
}

fn rosenbrock(x: &[f64]) -> f64 {
    let terms = x.windows(2).map(|w| {
        let (a, b) = (1.0 - w[0], w[1] - w[0] * w[0]);
        a * a + 100.0 * b * b
    });
    terms.sum()
}

fn levy(x: &[f64]) -> f64 {
    let w: Vec<f64> = x.iter().map(|x| 1.0 + (x - 1.0) / 4.0).collect();
    let square = |x: f64| x * x;
    let middle = w[..w.len() - 1]
        .iter()
        .map(|w| square(w - 1.0) * (1.0 + 10.0 * square((PI * w + 1.0).sin())));
    let last = w[w.len() - 1];
    square((PI * w[0]).sin())
        + middle.sum::<f64>()
        + square(last - 1.0) * (1.0 + square((TAU * last).sin()))
}

fn styblinski(x: &[f64]) -> f64 {
    x.iter()
        .map(|x| x.powi(4) - 16.0 * x * x + 5.0 * x)
        .sum::<f64>()
        / 2.0
}

/// Numbers, whole numbers and two choices, all of which act on each other.
fn mixed_space() -> Space {
    let choice = |name, count| parameter(name, Domain::Choice(vec![vec![]; count]));
    Space::new(&[
        float("x0", -5.0, 10.0),
        int("n", 0, 15),
        choice("tilt", 3),
        choice("side", 4),
        log("rate", 1e-4, 1.0),
    ])
    .unwrap()
}

fn mixed(p: &Named<'_>) -> f64 {
    let base = branin(&[p.number("x0"), p.number("n")]);
    let tilt = [0.0, 5.0, 12.0][p.choice("tilt")];
    let side = [3.0, 0.0, 6.0, 1.0][p.choice("side")];
    let best = [-2.0, -1.0, -3.0][p.choice("tilt")];
    let rate = p.number("rate").log10() - best;
    base + tilt + side + 8.0 * rate * rate
}

/// The space of optimizers, each with rates of its own.
fn optimizer_space() -> Space {
    let branches = vec![
        vec![log("rate", 1e-4, 1.0), float("momentum", 0.0, 0.99)],
        vec![log("rate", 1e-5, 0.1), float("beta", 0.8, 0.999)],
        vec![log("rate", 1e-5, 0.1)],
    ];
    Space::new(&[
        parameter("optimizer", Domain::Choice(branches)),
        int("hidden", 16, 256),
        float("dropout", 0.0, 0.7),
    ])
    .unwrap()
}

fn optimizers(p: &Named<'_>) -> f64 {
    let square = |x: f64| x * x;
    let rate = p.number("rate").log10();
    let own = match p.choice("optimizer") {
        // A larger momentum wants a smaller rate.
        0 => {
            let momentum = p.number("momentum");
            1.0 + 2.0 * square(rate + 1.0 + 1.5 * momentum) + 2.0 * square(momentum - 0.9)
        }
        1 => 2.0 * square(rate + 3.0) + 40.0 * square(p.number("beta") - 0.95),
        _ => 2.0 + square(rate + 2.5),
    };
    let size = (p.number("hidden") / 160.0).log2();
    own + square(size) + 4.0 * square(p.number("dropout") - 0.2 - 0.1 * size)
}

/// One to three layers, each with units of its own.
fn layer_space() -> Space {
    let units = |count: usize| (0..count).map(|n| int(&format!("units{n}"), 8, 128));
    let branches = (1..=3).map(|count| units(count).collect()).collect();
    Space::new(&[
        parameter("layers", Domain::Choice(branches)),
        log("rate", 1e-4, 1.0),
    ])
    .unwrap()
}

fn layers(p: &Named<'_>) -> f64 {
    let square = |x: f64| x * x;
    let layers = p.choice("layers") + 1;
    let misfit = |n: usize| {
        let best = [64.0, 48.0, 24.0][n];
        square((p.number(&format!("units{n}")) / best).log2())
    };
    let misfit = (0..layers).map(misfit).sum::<f64>() / layers as f64;
    let best = -1.0 - 0.5 * layers as f64;
    [1.5, 0.5, 0.0][layers - 1] + misfit + 2.0 * square(p.number("rate").log10() - best)
}
