//! Which pixels meet which weights.

use crate::kernels::Window;

/// A pixel that the first position of a run reads, and the weights that it meets there.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub(super) from: usize,
    pub(super) weight: usize,
}

/// Positions in a line that see the same weights. Places are pixels.
pub(super) struct Run {
    /// The first position.
    pub(super) to: usize,
    /// From one position to the next.
    pub(super) to_step: usize,
    /// From what one position reads to what the next does.
    pub(super) from_step: usize,
    pub(super) count: usize,
    pub(super) taps: Vec<Tap>,
}

/// All positions of an image, each in one run.
pub(super) struct Runs {
    runs: Vec<Run>,
    /// Pixels that are read.
    sources: usize,
    /// Pixels that are written.
    targets: usize,
    /// The rows of the matrix of weights.
    weights: usize,
}

/// One direction of an image: which source a position has at each place of the window.
struct Axis<F> {
    positions: usize,
    sources: usize,
    /// Positions so far from each other see the same places of the window.
    period: usize,
    /// How far apart their sources are.
    step: usize,
    source: F,
}

impl<F: Fn(usize, usize) -> Option<usize>> Axis<F> {
    /// The places of the window that a position has, each with its source.
    fn taps(&self, size: usize, position: usize) -> Vec<(usize, usize)> {
        let source = |place| Some((place, (self.source)(position, place)?));
        (0..size).filter_map(source).collect()
    }

    /// Calls `visit` with the first position of each run, its length and its taps.
    fn each(&self, size: usize, mut visit: impl FnMut(usize, usize, &[(usize, usize)])) {
        let places = |taps: &[(usize, usize)]| -> Vec<usize> {
            taps.iter().map(|(place, _)| *place).collect()
        };
        for phase in 0..self.period.min(self.positions) {
            let mut first = phase;
            while first < self.positions {
                let taps = self.taps(size, first);
                let mut next = first + self.period;
                while next < self.positions
                    && places(&self.taps(size, next)) == places(&taps)
                {
                    next += self.period;
                }
                visit(first, (next - first) / self.period, &taps);
                first = next;
            }
        }
    }
}

impl Runs {
    /// From the pixels of an image to the positions of the window.
    pub(super) fn forward(window: &Window) -> Self {
        let axis = |positions: usize, sources: usize, pad: usize| Axis {
            positions,
            sources,
            period: 1,
            step: window.stride,
            source: move |position: usize, place: usize| {
                let source = (position * window.stride + place).checked_sub(pad)?;
                (source < sources).then_some(source)
            },
        };
        Self::new(
            window.size,
            &axis(window.out_height, window.in_height, window.pad_top),
            &axis(window.out_width, window.in_width, window.pad_left),
        )
    }

    /// From the positions of the window to the pixels of an image.
    pub(super) fn backward(window: &Window) -> Self {
        let axis = |positions: usize, sources: usize, pad: usize| Axis {
            positions,
            sources,
            period: window.stride,
            step: 1,
            source: move |position: usize, place: usize| {
                let distance = (position + pad).checked_sub(place)?;
                let source = distance / window.stride;
                (distance.is_multiple_of(window.stride) && source < sources)
                    .then_some(source)
            },
        };
        Self::new(
            window.size,
            &axis(window.in_height, window.out_height, window.pad_top),
            &axis(window.in_width, window.out_width, window.pad_left),
        )
    }

    fn new<F: Fn(usize, usize) -> Option<usize>>(
        size: usize,
        rows: &Axis<F>,
        columns: &Axis<F>,
    ) -> Self {
        let mut runs = Vec::new();
        for y in 0..rows.positions {
            let down = rows.taps(size, y);
            columns.each(size, |x, count, across| {
                let taps = down.iter().flat_map(|(row, sy)| {
                    across.iter().map(move |(column, sx)| Tap {
                        from: sy * columns.sources + sx,
                        weight: row * size + column,
                    })
                });
                runs.push(Run {
                    to: y * columns.positions + x,
                    to_step: columns.period,
                    from_step: columns.step,
                    count,
                    taps: taps.collect(),
                });
            });
        }
        let runs = Self {
            runs,
            sources: rows.sources * columns.sources,
            targets: rows.positions * columns.positions,
            weights: size * size,
        };
        runs.check();
        runs
    }

    /// The kernels read and write through raw pointers on the strength of this.
    fn check(&self) {
        for run in &self.runs {
            let last = run.count - 1;
            assert!(run.to + last * run.to_step < self.targets);
            for tap in &run.taps {
                assert!(tap.from + last * run.from_step < self.sources);
                assert!(tap.weight < self.weights);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    pub(super) fn sources(&self) -> usize {
        self.sources
    }

    pub(super) fn targets(&self) -> usize {
        self.targets
    }

    pub(super) fn weights(&self) -> usize {
        self.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_a_line_is_one_run() {
        let window = Window {
            in_height: 8,
            in_width: 8,
            channels: 1,
            size: 3,
            stride: 1,
            pad_top: 1,
            pad_left: 1,
            out_height: 8,
            out_width: 8,
        };
        let runs = Runs::forward(&window);
        let counts: Vec<_> = runs.iter().map(|run| (run.count, run.taps.len())).collect();
        assert_eq!(counts[..3], [(1, 4), (6, 6), (1, 4)]);
        assert_eq!(counts[3..6], [(1, 6), (6, 9), (1, 6)]);
        // Each pixel is written once.
        for runs in [Runs::forward(&window), Runs::backward(&window)] {
            let written: usize = runs.iter().map(|run| run.count).sum();
            assert_eq!(written, runs.targets());
        }
    }
}
