//! Convolution of groups of channels, each with filters of its own (A. Krizhevsky and others,
//! ImageNet classification with deep convolutional neural networks, NIPS 2012).

use super::conv::Conv;
use super::{Flow, Layer, Pass};
use crate::kernels::{Buffer, Finish, Team, Window};

/// A convolution for each group, over copies of the channels of that group.
///
/// Its weights are a matrix of (row, column, channel of the group) of the window by filter,
/// then one bias per filter; the filters of a group are neighbours.
pub(crate) struct GroupedConv {
    parts: Vec<Part>,
    /// The channels of an image, of all groups.
    channels: usize,
    filters: usize,
    /// The values of an image, and of what is made of it.
    sizes: (usize, usize),
}

/// One group.
struct Part {
    conv: Conv,
    weights: Buffer,
    gradients: Buffer,
    input: Buffer,
    output: Buffer,
    /// The gradients of output and input.
    slopes: Buffer,
    target: Buffer,
}

impl GroupedConv {
    /// For mini-batches of at most `rows` images; the groups divide channels and filters.
    pub(crate) fn new(
        window: Window,
        (filters, groups): (usize, usize),
        finish: Finish,
        rows: usize,
        threads: usize,
    ) -> Self {
        let channels = window.channels;
        let pixels = window.in_height * window.in_width;
        let positions = finish.positions(&window);
        let of_group = Window {
            channels: channels / groups,
            ..window
        };
        let own = filters / groups;
        let weights = (of_group.values() + 1) * own;
        let part = |_| Part {
            conv: Conv::new(of_group, own, finish, rows, threads),
            weights: Buffer::zeros(weights),
            gradients: Buffer::zeros(weights),
            input: Buffer::zeros(rows * pixels * of_group.channels),
            output: Buffer::zeros(rows * positions * own),
            slopes: Buffer::zeros(rows * positions * own),
            target: Buffer::zeros(rows * pixels * of_group.channels),
        };
        Self {
            parts: (0..groups).map(part).collect(),
            channels,
            filters,
            sizes: (pixels * channels, positions * filters),
        }
    }
}

/// Copies the columns of each group out of rows of `width` numbers.
fn split<'a>(
    from: &[f32],
    width: usize,
    targets: impl ExactSizeIterator<Item = &'a mut Buffer> + Send,
    team: &Team,
) {
    let own = width / targets.len();
    team.share(targets.enumerate(), |(group, to)| {
        let rows = from.chunks_exact(width).zip(to.chunks_exact_mut(own));
        for (from, to) in rows {
            to.copy_from_slice(&from[group * own..(group + 1) * own]);
        }
    });
}

/// The inverse of [`split`].
fn join<'a>(
    sources: impl ExactSizeIterator<Item = &'a Buffer>,
    width: usize,
    to: &mut [f32],
) {
    let own = width / sources.len();
    for (group, from) in sources.enumerate() {
        let rows = to.chunks_exact_mut(width).zip(from.chunks_exact(own));
        for (to, from) in rows {
            to[group * own..(group + 1) * own].copy_from_slice(from);
        }
    }
}

impl Layer for GroupedConv {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        pass: Pass<'_>,
    ) {
        let (channels, filters, team) = (self.channels, self.filters, pass.team);
        let groups = self.parts.len();
        let parts = self.parts.iter_mut().map(|part| &mut part.weights);
        split(weights, filters, parts, team);
        let parts = self.parts.iter_mut().map(|part| &mut part.input);
        split(input, channels, parts, team);
        let (inputs, outputs) = (input.len() / groups, output.len() / groups);
        for part in &mut self.parts {
            let (input, output) = (&part.input[..inputs], &mut part.output[..outputs]);
            part.conv.forward(&part.weights, input, output, pass);
        }
        join(self.parts.iter().map(|part| &part.output), filters, output);
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let (channels, filters, team) = (self.channels, self.filters, flow.team);
        debug_assert_eq!(
            flow.input.len() / self.sizes.0,
            flow.output.len() / self.sizes.1
        );
        let groups = self.parts.len();
        let parts = self.parts.iter_mut().map(|part| &mut part.slopes);
        split(flow.output_gradient, filters, parts, team);
        let (inputs, outputs) = (flow.input.len() / groups, flow.output.len() / groups);
        for part in &mut self.parts {
            let flow = Flow {
                weights: &part.weights,
                input: &part.input[..inputs],
                output: &part.output[..outputs],
                output_gradient: &part.slopes[..outputs],
                team,
            };
            let target = input_gradient.is_some();
            let target = target.then(|| &mut part.target[..inputs]);
            part.conv.backward(flow, target, &mut part.gradients);
        }
        let parts = self.parts.iter().map(|part| &part.gradients);
        join(parts, filters, gradients);
        if let Some(target) = input_gradient {
            join(self.parts.iter().map(|part| &part.target), channels, target);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::gradients::check_layer;

    #[test]
    fn gradients() {
        check_layer("conv(4, 3, groups: 2)", (4, 5, 4));
        check_layer("conv(6, 3, stride: 2, groups: 3)", (5, 4, 3));
        check_layer("conv(4, 2, padding: valid, groups: 2)", (4, 4, 2));
        check_layer("conv(4, 1, groups: 2)", (3, 3, 6));
        check_layer("conv(3, 3, groups: 3)", (4, 4, 3));
    }
}
