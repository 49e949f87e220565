//! How gradients become steps. The formulas and their order are PyTorch's.

use std::ops::Range;
use std::sync::Arc;

use crate::architecture::PlannedParameter;
use crate::kernels::{Buffer, Kernel, Simd, Team, dispatch};
use crate::{Hyperparameters, OptimizerKind};

/// An optimizer with its memory, one number per weight and moment.
pub(crate) struct Optimizer {
    rule: Rule,
    weight_decay: f32,
    clip_norm: Option<f64>,
    /// Of each part of the gradients.
    squares: Vec<f64>,
    steps: i32,
    team: Arc<Team>,
}

/// The rule by which weights move, with what it remembers: one number a weight, or two.
enum Rule {
    Sgd {
        momentum: f32,
        nesterov: bool,
        velocity: Buffer,
    },
    Adam {
        beta1: f64,
        beta2: f64,
        epsilon: f32,
        decoupled: bool,
        moments: Moments,
    },
    RmsProp {
        rho: f64,
        epsilon: f32,
        squares: Buffer,
    },
}

/// Adam's two moving averages, one number a weight each.
struct Moments {
    means: Buffer,
    squares: Buffer,
}

impl Optimizer {
    pub(crate) fn new(hyperparameters: &Hyperparameters, weights: usize) -> Self {
        let epsilon = hyperparameters.epsilon as f32;
        let zeros = || Buffer::zeros(weights);
        let rule = match hyperparameters.optimizer {
            OptimizerKind::Sgd => Rule::Sgd {
                momentum: hyperparameters.momentum as f32,
                nesterov: hyperparameters.nesterov,
                velocity: zeros(),
            },
            kind @ (OptimizerKind::Adam | OptimizerKind::AdamW) => Rule::Adam {
                beta1: hyperparameters.beta1,
                beta2: hyperparameters.beta2,
                epsilon,
                decoupled: kind == OptimizerKind::AdamW,
                moments: Moments {
                    means: zeros(),
                    squares: zeros(),
                },
            },
            OptimizerKind::RmsProp => {
                let rho = hyperparameters.rho;
                Rule::RmsProp {
                    rho,
                    epsilon,
                    squares: zeros(),
                }
            }
        };
        Self {
            rule,
            weight_decay: hyperparameters.weight_decay as f32,
            clip_norm: hyperparameters.clip_norm,
            squares: vec![0.0; weights.div_ceil(PART)],
            steps: 0,
            team: Arc::new(Team::new(1)),
        }
    }

    /// The steps so far, and what it remembers of them.
    pub(crate) fn memory(&self) -> (i32, [&[f32]; 2]) {
        let moments: [&[f32]; 2] = match &self.rule {
            Rule::Sgd { velocity, .. } => [velocity, &[]],
            Rule::Adam { moments, .. } => [&moments.means, &moments.squares],
            Rule::RmsProp { squares, .. } => [squares, &[]],
        };
        (self.steps, moments)
    }

    /// See [`Optimizer::memory`].
    pub(crate) fn memory_mut(&mut self) -> (&mut i32, [&mut [f32]; 2]) {
        let moments: [&mut [f32]; 2] = match &mut self.rule {
            Rule::Sgd { velocity, .. } => [velocity, &mut []],
            Rule::Adam { moments, .. } => [&mut moments.means, &mut moments.squares],
            Rule::RmsProp { squares, .. } => [squares, &mut []],
        };
        (&mut self.steps, moments)
    }

    /// Lets the threads of a network share the steps.
    pub(crate) fn share(&mut self, team: &Arc<Team>) {
        self.team = Arc::clone(team);
    }

    /// Moves all weights once. `parameters` says to which of them weight decay applies.
    pub(crate) fn step<'a>(
        &mut self,
        parameters: impl Iterator<Item = &'a PlannedParameter>,
        weights: &mut [f32],
        gradients: &mut [f32],
        learning_rate: f64,
    ) {
        self.steps = self.steps.saturating_add(1);
        if let Some(limit) = self.clip_norm {
            self.clip(gradients, limit);
        }
        for parameter in parameters {
            let range = parameter.range.clone();
            let pace = Pace {
                steps: self.steps,
                learning_rate,
                decay: if parameter.decays {
                    self.weight_decay
                } else {
                    0.0
                },
            };
            let weights = &mut weights[range.clone()];
            let gradients = &gradients[range.clone()];
            self.rule.step(weights, gradients, range, pace, &self.team);
        }
    }

    /// Shortens the gradients to a global norm of at most `limit`.
    fn clip(&mut self, gradients: &mut [f32], limit: f64) {
        let parts = gradients.chunks(PART).zip(&mut self.squares);
        self.team.share(parts, |(gradients, square)| {
            *square = dispatch(SumOfSquares(gradients));
        });
        let squares: f64 = self.squares.iter().sum();
        let factor = limit / (squares.sqrt() + 1e-6);
        if factor < 1.0 {
            let factor = factor as f32;
            gradients
                .iter_mut()
                .for_each(|gradient| *gradient *= factor);
        }
    }
}

/// How far a step goes.
#[derive(Clone, Copy)]
struct Pace {
    /// The steps so far, this one included. Adam's moments start at zero, which counts for
    /// less with each step.
    steps: i32,
    learning_rate: f64,
    /// Weight decay; 0 for parameters that do not decay, such as biases.
    decay: f32,
}

impl Rule {
    /// Moves the weights of one parameter once. `range` is the parameter's place among all
    /// weights of the network, and so in the rule's memory.
    fn step(
        &mut self,
        weights: &mut [f32],
        gradients: &[f32],
        range: Range<usize>,
        pace: Pace,
        team: &Team,
    ) {
        let Pace {
            steps,
            learning_rate,
            decay,
        } = pace;
        match self {
            Rule::Sgd {
                momentum,
                nesterov,
                velocity,
            } => {
                let rate = learning_rate as f32;
                let sgd = Sgd {
                    rate,
                    decay,
                    momentum: *momentum,
                    nesterov: *nesterov,
                };
                let parts = parts(weights, gradients, &mut velocity[range]);
                team.share(parts, |part| dispatch(UpdateStep(&sgd, part)));
            }
            Rule::Adam {
                beta1,
                beta2,
                epsilon,
                decoupled,
                moments,
            } => {
                let correction1 = 1.0 - beta1.powi(steps);
                let correction2 = 1.0 - beta2.powi(steps);
                let shrink = 1.0 - learning_rate as f32 * decay;
                let adam = Adam {
                    rate: (learning_rate / correction1) as f32,
                    decay: if *decoupled { 0.0 } else { decay },
                    shrink: if *decoupled { shrink } else { 1.0 },
                    beta1: *beta1,
                    beta2: *beta2,
                    root: correction2.sqrt() as f32,
                    epsilon: *epsilon,
                };
                let squares = moments.squares[range.clone()].chunks_mut(PART);
                let parts = parts(weights, gradients, &mut moments.means[range]);
                let parts = parts.zip(squares);
                team.share(parts, |(part, squares)| {
                    dispatch(AdamStep(&adam, part, squares));
                });
            }
            Rule::RmsProp {
                rho,
                epsilon,
                squares,
            } => {
                let rate = learning_rate as f32;
                let rms = RmsProp {
                    rate,
                    decay,
                    rho: *rho,
                    epsilon: *epsilon,
                };
                let parts = parts(weights, gradients, &mut squares[range]);
                team.share(parts, |part| dispatch(UpdateStep(&rms, part)));
            }
        }
    }
}

/// Threads get this many weights at a time.
const PART: usize = 1 << 16;

/// What an optimizer remembers counts as zero below this. It fades away step by step where
/// there is no gradient (the edge of an image), and numbers below the normal ones make the
/// CPU a hundred times slower.
const TINY: f32 = 1e-30;

#[inline(always)]
fn without_tiny(x: f32) -> f32 {
    if x.abs() < TINY { 0.0 } else { x }
}

/// Some weights, their gradients and what the optimizer remembers of them.
struct ParameterSlice<'a> {
    weights: &'a mut [f32],
    gradients: &'a [f32],
    memory: &'a mut [f32],
}

fn parts<'a>(
    weights: &'a mut [f32],
    gradients: &'a [f32],
    memory: &'a mut [f32],
) -> impl Iterator<Item = ParameterSlice<'a>> {
    weights
        .chunks_mut(PART)
        .zip(gradients.chunks(PART))
        .zip(memory.chunks_mut(PART))
        .map(|((weights, gradients), memory)| ParameterSlice {
            weights,
            gradients,
            memory,
        })
}

/// A rule that remembers one number a weight.
trait Update {
    fn update(&self, weight: &mut f32, gradient: f32, memory: &mut f32);
}

/// One step of a rule over a part of the weights.
struct UpdateStep<'a, U>(&'a U, ParameterSlice<'a>);

impl<U: Update> Kernel for UpdateStep<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self(rule, part) = self;
        let states = part.weights.iter_mut().zip(part.memory);
        for ((weight, memory), gradient) in states.zip(part.gradients) {
            rule.update(weight, *gradient, memory);
        }
    }
}

/// A sum in several lanes, always the same ones.
struct SumOfSquares<'a>(&'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0_f64; 16];
        for values in self.0.chunks(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        sums.iter().sum()
    }
}

/// Stochastic gradient descent, with momentum if that is not 0.
struct Sgd {
    rate: f32,
    decay: f32,
    momentum: f32,
    nesterov: bool,
}

impl Update for Sgd {
    #[inline(always)]
    fn update(&self, weight: &mut f32, gradient: f32, velocity: &mut f32) {
        let gradient = gradient + self.decay * *weight;
        *velocity = without_tiny(self.momentum * *velocity + gradient);
        let direction = if self.nesterov {
            gradient + self.momentum * *velocity
        } else {
            *velocity
        };
        *weight -= self.rate * direction;
    }
}

/// Adam, or AdamW where `shrink` is not 1.
struct Adam {
    rate: f32,
    decay: f32,
    shrink: f32,
    beta1: f64,
    beta2: f64,
    root: f32,
    epsilon: f32,
}

/// One step of Adam over a part of the weights, their means, and their squares.
struct AdamStep<'a>(&'a Adam, ParameterSlice<'a>, &'a mut [f32]);

impl Kernel for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self(adam, part, squares) = self;
        let (kept, added) = (adam.beta2 as f32, (1.0 - adam.beta2) as f32);
        let towards = (1.0 - adam.beta1) as f32;
        let states = part.weights.iter_mut().zip(part.memory).zip(squares);
        for (((weight, mean), square), gradient) in states.zip(part.gradients) {
            let gradient = gradient + adam.decay * *weight;
            *mean = without_tiny(*mean + towards * (gradient - *mean));
            *square = without_tiny(kept * *square + added * gradient * gradient);
            let divisor = square.sqrt() / adam.root + adam.epsilon;
            *weight = *weight * adam.shrink - adam.rate * *mean / divisor;
        }
    }
}

/// RMSprop, without momentum.
struct RmsProp {
    rate: f32,
    decay: f32,
    rho: f64,
    epsilon: f32,
}

impl Update for RmsProp {
    #[inline(always)]
    fn update(&self, weight: &mut f32, gradient: f32, square: &mut f32) {
        let (kept, added) = (self.rho as f32, (1.0 - self.rho) as f32);
        let gradient = gradient + self.decay * *weight;
        *square = without_tiny(kept * *square + added * gradient * gradient);
        *weight -= self.rate * gradient / (square.sqrt() + self.epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Init;

    /// Three steps down a parabola, in PyTorch:
    ///
    /// ```python
    /// w = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
    /// b = torch.tensor([0.25], requires_grad=True)
    /// groups = [{"params": [w], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0}]
    /// optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)  # or the one at hand
    /// for _ in range(3):
    ///     optimizer.zero_grad()
    ///     loss = (0.15 * w * w).sum() + (torch.tensor([0.1, -0.2, 0.3]) * w).sum()
    ///     (loss + (0.15 * b * b).sum() - 0.4 * b.sum()).backward()
    ///     # torch.nn.utils.clip_grad_norm_([w, b], 0.5)
    ///     optimizer.step()
    /// w.tolist() + b.tolist()
    /// ```
    #[track_caller]
    fn check(hyperparameters: Hyperparameters, expected: [f32; 4]) {
        let hyperparameters = Hyperparameters {
            learning_rate: 0.1,
            weight_decay: 0.1,
            ..hyperparameters
        };
        let init = Init::Constant(0.0);
        let groups = [
            PlannedParameter {
                range: 0..3,
                init,
                decays: true,
            },
            PlannedParameter {
                range: 3..4,
                init,
                decays: false,
            },
        ];
        let mut optimizer = Optimizer::new(&hyperparameters, 4);
        let mut weights = [0.5, -1.0, 2.0, 0.25];
        let slope = [0.1, -0.2, 0.3, -0.4];
        for _ in 0..3 {
            let mut gradients = slope;
            for (gradient, weight) in gradients.iter_mut().zip(&weights) {
                *gradient += 0.3 * weight;
            }
            optimizer.step(groups.iter(), &mut weights, &mut gradients, 0.1);
        }
        for (actual, expected) in weights.iter().zip(expected) {
            assert!((actual - expected).abs() < 2e-6, "{weights:?} {expected:?}");
        }
    }

    fn of(optimizer: OptimizerKind) -> Hyperparameters {
        Hyperparameters {
            optimizer,
            ..Hyperparameters::default()
        }
    }

    // >>> torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    #[test]
    fn sgd() {
        let expected = [0.337_412, -0.674_824, 1.403_844, 0.427_674_26];
        check(of(OptimizerKind::Sgd), expected);
    }

    // >>> torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    #[test]
    fn nesterov() {
        let expected = [0.274_890_36, -0.549_780_7, 1.174_598, 0.498_232_84];
        check(
            Hyperparameters {
                nesterov: true,
                ..of(OptimizerKind::Sgd)
            },
            expected,
        );
    }

    // >>> torch.optim.Adam(groups, lr=0.1)
    #[test]
    fn adam() {
        let expected = [0.202_456_68, -0.700_902_9, 1.700_422_9, 0.548_587_1];
        check(of(OptimizerKind::Adam), expected);
    }

    // >>> torch.optim.AdamW(groups, lr=0.1)
    #[test]
    fn adamw() {
        let expected = [0.190_369_04, -0.674_173_5, 1.644_058_6, 0.548_587_1];
        check(of(OptimizerKind::AdamW), expected);
    }

    // >>> torch.optim.RMSprop(groups, lr=0.1)
    #[test]
    fn rmsprop() {
        let expected = [-0.268_424_03, 0.433_307, 0.110_253_84, 1.332_893_1];
        check(of(OptimizerKind::RmsProp), expected);
    }

    #[test]
    fn what_fades_away_ends_at_zero() {
        for optimizer in [
            OptimizerKind::Sgd,
            OptimizerKind::Adam,
            OptimizerKind::RmsProp,
        ] {
            let hyperparameters = Hyperparameters {
                beta2: 0.9,
                rho: 0.9,
                ..of(optimizer)
            };
            let mut optimizer = Optimizer::new(&hyperparameters, 1);
            let parameter = PlannedParameter {
                range: 0..1,
                init: Init::Constant(0.0),
                decays: false,
            };
            let mut weights = [0.0];
            for step in 0..2_000 {
                let mut gradients = [if step == 0 { 1.0 } else { 0.0 }];
                let parameters = std::iter::once(&parameter);
                optimizer.step(parameters, &mut weights, &mut gradients, 0.1);
            }
            let memory = match &optimizer.rule {
                Rule::Sgd { velocity, .. } => velocity[0],
                Rule::Adam { moments, .. } => moments.means[0] + moments.squares[0],
                Rule::RmsProp { squares, .. } => squares[0],
            };
            assert_eq!(memory, 0.0);
        }
    }

    // >>> torch.optim.SGD(groups, lr=0.1, momentum=0.9), with clip_grad_norm_
    #[test]
    fn a_long_gradient_is_shortened() {
        let expected = [0.409_456_37, -0.818_912_74, 1.663_053_4, 0.332_691_94];
        check(
            Hyperparameters {
                clip_norm: Some(0.5),
                ..of(OptimizerKind::Sgd)
            },
            expected,
        );
    }
}
