//! Shapes and weights of each layer, found before anything is allocated.

use std::ops::Range;

use super::fit::{
    MAX_VALUES, needs_too_much, output_shape, projection, too_large, weight_groups,
    window,
};
use super::{LayerSpec, WrittenLayer};
use crate::columns::EmbeddingTable;
use crate::kernels::Window;
use crate::layers::{attention_values, series};
use crate::{Error, ImageShape};

/// More weights than this are refused, because each needs up to five numbers of memory
/// (itself, its gradient, two of the optimizer, its best value).
const MAX_WEIGHTS: usize = 100_000_000;

/// The shape of what flows between two layers, for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActivationShape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Also the length of a vector, whose height and width are 1.
    pub(crate) channels: usize,
    /// Whether it has been flattened: the rank in an ONNX file is 2 instead of 4.
    pub(crate) flat: bool,
}

impl ActivationShape {
    pub(crate) fn values(&self) -> usize {
        self.height * self.width * self.channels
    }

    pub(crate) fn vector(length: usize) -> Self {
        Self {
            height: 1,
            width: 1,
            channels: length,
            flat: true,
        }
    }
}

/// Initial values of a group of weights. Those that are random follow Keras.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Init {
    /// Uniform in `-limit..limit`.
    Uniform {
        limit: f32,
    },
    Constant(f32),
}

/// A group of weights that belong together, such as a bias.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedParameter {
    /// Its place in the network's weights.
    pub(crate) range: Range<usize>,
    pub(crate) init: Init,
    /// Whether weight decay applies.
    pub(crate) decays: bool,
}

/// A layer with its shapes and weights.
#[derive(Clone, Debug)]
pub(crate) struct PlannedLayer {
    pub(crate) spec: LayerSpec,
    pub(crate) input: ActivationShape,
    pub(crate) output: ActivationShape,
    /// For convolution and pooling.
    pub(crate) window: Option<Window>,
    /// The vectors of an embedding.
    pub(crate) tables: Vec<EmbeddingTable>,
    /// The layers of a residual block.
    pub(crate) body: Vec<PlannedLayer>,
    /// Those that give its input the shape of its output, where it has another.
    pub(crate) shortcut: Vec<PlannedLayer>,
    pub(crate) parameters: Vec<PlannedParameter>,
}

impl PlannedLayer {
    /// About how many multiplications it makes for an image, forward.
    fn products(&self) -> f64 {
        let outputs = self.output.values() as f64;
        match (&self.spec, &self.window) {
            (LayerSpec::Conv { groups, .. }, Some(window)) => {
                outputs * (window.values() / groups) as f64
            }
            (LayerSpec::DepthwiseConv { kernel, .. }, _) => {
                outputs * (kernel * kernel) as f64
            }
            (LayerSpec::Patches { .. }, Some(window)) => outputs * window.values() as f64,
            (LayerSpec::Attention { .. }, _) => {
                let tokens = (self.input.height * self.input.width) as f64;
                outputs * (4.0 * self.input.channels as f64 + 2.0 * tokens)
            }
            (LayerSpec::Dense { .. }, _) => outputs * self.input.values() as f64,
            (LayerSpec::Conv1d { kernel, .. }, _) => {
                let channels = series(self.input).map_or(1, |(_, channels)| channels);
                outputs * (kernel * channels) as f64
            }
            (LayerSpec::Residual, _) => {
                self.inner().map(PlannedLayer::products).sum::<f64>() + outputs
            }
            // Whatever looks at each value once or a few times.
            _ => self.input.values() as f64,
        }
    }

    /// The layers of a residual block, the shortcut's last.
    pub(crate) fn inner(&self) -> impl Iterator<Item = &PlannedLayer> {
        self.body.iter().chain(&self.shortcut)
    }

    /// How many numbers it holds for an image.
    pub(crate) fn values(&self) -> usize {
        let kept = match self.spec {
            LayerSpec::Attention { heads } => attention_values(self.input, heads),
            _ => 0,
        };
        let inner = self.inner().map(PlannedLayer::values).sum::<usize>();
        self.output.values() + kept + inner
    }

    /// The place of all its weights in the network's.
    pub(crate) fn weights(&self) -> Range<usize> {
        match (self.parameters.first(), self.parameters.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => 0..0,
        }
    }

    /// The same in weights of which the first is the network's weight `first`.
    pub(crate) fn weights_after(&self, first: usize) -> Range<usize> {
        let own = self.weights();
        match own.is_empty() {
            true => 0..0,
            false => own.start - first..own.end - first,
        }
    }
}

/// A whole network on paper.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) image: ImageShape,
    /// Whether what comes in is a row of numbers and no image.
    pub(crate) flat: bool,
    pub(crate) layers: Vec<PlannedLayer>,
    /// The number of weights.
    pub(crate) weights: usize,
}

impl Plan {
    /// Fits the layers of `text` to images and classes.
    pub(crate) fn new(
        text: &str,
        layers: &[WrittenLayer],
        image: ImageShape,
        classes: usize,
    ) -> Result<Self, Error> {
        let mut plan = Self::of_layers(text, layers, image)?;
        plan.finish(text, classes)?;
        Ok(plan)
    }

    /// Fits the layers to rows of numbers and to as many outputs as there are classes, or
    /// one for a number to predict.
    pub(crate) fn of_numbers(
        text: &str,
        layers: &[WrittenLayer],
        width: usize,
        outputs: usize,
    ) -> Result<Self, Error> {
        let mut plan = Self::empty(ImageShape {
            height: 1,
            width: 1,
            channels: width,
        });
        plan.flat = true;
        plan.add(text, layers)?;
        plan.finish(text, outputs)?;
        Ok(plan)
    }

    /// Fits the layers to rows of mixed columns, in the same way. The last inputs of a row are
    /// places of vectors in these tables.
    pub(crate) fn of_columns(
        text: &str,
        layers: &[WrittenLayer],
        (width, tables): (usize, Vec<EmbeddingTable>),
        outputs: usize,
    ) -> Result<Self, Error> {
        let mut plan = Self::empty(ImageShape {
            height: 1,
            width: 1,
            channels: width,
        });
        plan.flat = true;
        if !tables.is_empty() {
            plan.embed(tables)?;
        }
        plan.add(text, layers)?;
        plan.finish(text, outputs)?;
        Ok(plan)
    }

    fn embed(&mut self, tables: Vec<EmbeddingTable>) -> Result<(), Error> {
        let input = self.output();
        let size = |table: &EmbeddingTable| table.rows * table.width;
        let all: usize = tables.iter().map(size).sum();
        if all > MAX_WEIGHTS {
            return Err(Error::Architecture {
                problem: format!(
                    "the vectors of its texts have more than {MAX_WEIGHTS} numbers; give a \
                     smaller embedding"
                ),
            });
        }
        let vectors: usize = tables.iter().map(|table| table.width).sum();
        let passed = input.channels - tables.len();
        let mut parameters = Vec::with_capacity(tables.len());
        for table in &tables {
            let range = self.weights..self.weights + size(table);
            self.weights = range.end;
            parameters.push(PlannedParameter {
                range,
                // As in `keras.layers.Embedding`.
                init: Init::Uniform { limit: 0.05 },
                decays: true,
            });
        }
        self.layers.push(PlannedLayer {
            spec: LayerSpec::Embed,
            input,
            output: ActivationShape::vector(passed + vectors),
            window: None,
            tables,
            body: Vec::new(),
            shortcut: Vec::new(),
            parameters,
        });
        Ok(())
    }

    /// Fits the layers to images, whatever comes out of the last one.
    pub(crate) fn of_layers(
        text: &str,
        layers: &[WrittenLayer],
        image: ImageShape,
    ) -> Result<Self, Error> {
        let mut plan = Self::empty(image);
        plan.add(text, layers)?;
        Ok(plan)
    }

    /// About how many multiplications training makes for an image: one pass forward, and
    /// two of the same size for the gradients of weights and of values.
    pub(crate) fn products(&self) -> f64 {
        3.0 * self.layers.iter().map(PlannedLayer::products).sum::<f64>()
    }

    fn empty(image: ImageShape) -> Self {
        Self {
            image,
            flat: false,
            layers: Vec::new(),
            weights: 0,
        }
    }

    fn add(&mut self, text: &str, layers: &[WrittenLayer]) -> Result<(), Error> {
        let shape = self.output();
        self.add_from(text, layers, shape).map(|_| ())
    }

    /// Adds layers, the first of which is given this shape; returns that after the last.
    fn add_from(
        &mut self,
        text: &str,
        layers: &[WrittenLayer],
        mut shape: ActivationShape,
    ) -> Result<ActivationShape, Error> {
        let plan = self;
        for (index, layer) in layers.iter().enumerate() {
            let refuse = |problem: String| Error::Architecture {
                problem: format!(
                    "{} at position {} of '{text}': {problem}",
                    layer.spec.name(),
                    layer.position
                ),
            };
            if layer.spec == LayerSpec::Residual {
                shape = plan.residual(text, layer, shape)?;
                continue;
            }
            if matches!(layer.spec, LayerSpec::Dense { .. }) && !shape.flat {
                shape = plan.push(LayerSpec::Flatten, shape, &[]).map_err(refuse)?;
            }
            shape = plan
                .push(layer.spec, shape, &layers[index + 1..])
                .map_err(refuse)?;
        }
        Ok(shape)
    }

    /// Adds a residual block.
    fn residual(
        &mut self,
        text: &str,
        block: &WrittenLayer,
        input: ActivationShape,
    ) -> Result<ActivationShape, Error> {
        let refuse = |problem: &str| Error::Architecture {
            problem: format!(
                "residual at position {} of '{text}': {problem}",
                block.position
            ),
        };
        let outer = std::mem::take(&mut self.layers);
        let output = self.add_from(text, &block.body, input)?;
        let body = std::mem::take(&mut self.layers);
        if output.flat != input.flat {
            return Err(refuse(
                "its layers make a list of an image, to which the image cannot be added; \
                 use convolutions, or flatten before it",
            ));
        }
        let mut shortcut = Vec::new();
        if output != input {
            let Some(project) = projection(input, output) else {
                return Err(refuse(&format!(
                    "its layers make {} x {} of {} x {}, which no stride does; change \
                     their strides and paddings",
                    output.height, output.width, input.height, input.width
                )));
            };
            let unfit = |problem: String| refuse(&problem);
            let shape = self.push(project, input, &[]).map_err(unfit)?;
            if body.iter().any(|layer| layer.spec == LayerSpec::BatchNorm) {
                self.push(LayerSpec::BatchNorm, shape, &[]).map_err(unfit)?;
            }
            shortcut = std::mem::take(&mut self.layers);
        }
        self.layers = outer;
        let inner = body.iter().chain(&shortcut);
        self.layers.push(PlannedLayer {
            spec: LayerSpec::Residual,
            input,
            output,
            window: None,
            tables: Vec::new(),
            parameters: inner.flat_map(|layer| layer.parameters.clone()).collect(),
            body,
            shortcut,
        });
        Ok(output)
    }

    /// The shape after the last layer.
    pub(crate) fn output(&self) -> ActivationShape {
        let ImageShape {
            height,
            width,
            channels,
        } = self.image;
        let image = ActivationShape {
            height,
            width,
            channels,
            flat: self.flat,
        };
        self.layers.last().map_or(image, |layer| layer.output)
    }

    /// Checks that the network ends in one value per class, or one for a number.
    fn finish(&mut self, text: &str, classes: usize) -> Result<(), Error> {
        let shape = self.output();
        if shape.values() != classes || shape.height * shape.width != 1 {
            let ActivationShape {
                height,
                width,
                channels,
                ..
            } = shape;
            return Err(Error::Architecture {
                problem: format!(
                    "the last layer must give {}, but it gives {height} x {width} x \
                     {channels}; end '{text}' with dense({classes})",
                    match classes {
                        1 => "one value, the number that it predicts".to_owned(),
                        _ => format!("{classes} values, one per class"),
                    }
                ),
            });
        }
        if !shape.flat {
            self.push(LayerSpec::Flatten, shape, &[])
                .map_err(|problem| Error::Architecture { problem })?;
        }
        Ok(())
    }

    /// Adds one layer and returns the shape after it, or why it does not fit.
    fn push(
        &mut self,
        spec: LayerSpec,
        input: ActivationShape,
        following: &[WrittenLayer],
    ) -> Result<ActivationShape, String> {
        let window = window(spec, input)?;
        let output = output_shape(spec, input, window)?;
        if needs_too_much(spec, input, output, window)? {
            return Err(format!(
                "it needs more than {MAX_VALUES} values for one image; make it smaller"
            ));
        }
        let mut parameters = Vec::new();
        for group in weight_groups(spec, input, following)? {
            if too_large(&[group.rows, group.columns], MAX_WEIGHTS - self.weights) {
                return Err(format!(
                    "the network would have more than {MAX_WEIGHTS} weights; make it \
                     smaller"
                ));
            }
            let range = self.weights..self.weights + group.rows * group.columns;
            self.weights = range.end;
            parameters.push(PlannedParameter {
                range,
                init: group.init,
                decays: group.decays,
            });
        }
        self.layers.push(PlannedLayer {
            spec,
            input,
            output,
            window,
            tables: Vec::new(),
            body: Vec::new(),
            shortcut: Vec::new(),
            parameters,
        });
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::parse;

    fn plan(text: &str, side: usize, channels: usize) -> Result<Plan, Error> {
        let image = ImageShape {
            height: side,
            width: side,
            channels,
        };
        Plan::new(text, &parse(text).unwrap(), image, 10)
    }

    #[track_caller]
    fn check_shapes(text: &str, side: usize, expected: &[(usize, usize, usize)]) {
        let plan = plan(text, side, 1).unwrap();
        let shapes: Vec<_> = plan
            .layers
            .iter()
            .map(|layer| {
                (
                    layer.output.height,
                    layer.output.width,
                    layer.output.channels,
                )
            })
            .collect();
        assert_eq!(shapes, expected, "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, side: usize, expected: &str) {
        let error = plan(text, side, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn dense_flattens_by_itself() {
        let expected = [(28, 28, 4), (14, 14, 4), (1, 1, 784), (1, 1, 10)];
        check_shapes("conv(4, 5), max_pool(2), dense(10)", 28, &expected);
        check_shapes("conv(4, 5), max_pool(2), flatten, dense(10)", 28, &expected);
    }

    #[test]
    fn padding_and_stride_follow_keras() {
        check_shapes(
            "conv(2, 3, stride: 2), conv(3, 4, padding: valid), global_avg_pool, dense(10)",
            9,
            &[(5, 5, 2), (2, 2, 3), (1, 1, 3), (1, 1, 3), (1, 1, 10)],
        );
        check_shapes(
            "max_pool(2, stride: 3), dense(10)",
            7,
            &[(2, 2, 1), (1, 1, 4), (1, 1, 10)],
        );
    }

    #[test]
    fn a_network_may_end_without_a_dense_layer() {
        check_shapes(
            "conv(10, 3), global_avg_pool",
            7,
            &[(7, 7, 10), (1, 1, 10), (1, 1, 10)],
        );
    }

    #[test]
    fn the_tutorial_network_has_its_known_number_of_weights() {
        let text = crate::architecture::Preset::Lenet.text(None, None, None, 10);
        assert_eq!(plan(&text, 28, 1).unwrap().weights, 1_663_370);
    }

    #[test]
    fn presets_are_as_large_as_they_say() {
        let weights = |preset: crate::architecture::Preset| {
            let text = preset.text(None, None, None, 10);
            plan(&text, 32, 3).unwrap().weights
        };
        assert_eq!(weights(crate::architecture::Preset::Mobilenet), 138_314);
        // Patches, positions, four blocks, the last norm, ten classes.
        let block = 12 * 64 * 64 + 13 * 64;
        let vit = (48 * 64 + 64) + 64 * 64 + 4 * block + 2 * 64 + 650;
        assert_eq!(weights(crate::architecture::Preset::VitTiny), vit);
        assert_eq!(vit, 207_946);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_refused(
            "max_pool(4), max_pool(4), dense(10)",
            8,
            "max_pool at position 14 of 'max_pool(4), max_pool(4), dense(10)': its input is \
             2 x 2, smaller than its window of 4 x 4",
        );
        check_refused("dense(8), conv(3, 3), dense(10)", 8, "it needs an image");
        check_refused(
            "dense(8), global_avg_pool, dense(10)",
            8,
            "it needs an image",
        );
        check_refused(
            "dense(128), relu",
            8,
            "the last layer must give 10 values, one per class, but it gives 1 x 1 x 128",
        );
        check_refused(
            "max_pool(17), dense(10)",
            28,
            "the size must be at most 16, got 17",
        );
    }

    #[test]
    fn groups_that_do_not_divide_are_refused() {
        check_refused(
            "conv(6, 3), conv(9, 3, groups: 2), dense(10)",
            8,
            "conv at position 13 of 'conv(6, 3), conv(9, 3, groups: 2), dense(10)': its 2 \
             groups must divide the 6 channels that it gets and its 9 filters",
        );
        check_refused(
            "depthwise_conv(9, padding: valid)",
            8,
            "smaller than its window",
        );
        check_refused("dense(8), depthwise_conv(3)", 8, "it needs an image");
    }

    #[test]
    fn attention_that_does_not_fit_is_refused() {
        check_refused(
            "conv(6, 3), attention(4), dense(10)",
            8,
            "attention at position 13 of 'conv(6, 3), attention(4), dense(10)': its 4 heads \
             must divide the 6 channels that it gets; change one of them",
        );
        check_refused(
            "patches(3, 8), dense(10)",
            8,
            "its patches of 3 x 3 do not cover 8 x 8; give a size that divides both",
        );
        check_refused(
            "dense(8), attention(2), dense(10)",
            8,
            "it needs patches, steps or other vectors, but gets a list of 8 numbers",
        );
        check_refused("flatten, positions", 8, "it needs patches, steps");
        check_refused("dense(8), patches(2, 8), dense(10)", 8, "it needs an image");
        check_refused("tokens(8), dense(10)", 8, "put flatten before it");
        let text = "conv(8, 1), attention(2), global_avg_pool, dense(10)";
        check_refused(text, 4_000, "values for one image");
    }

    #[test]
    fn a_filter_of_its_own_costs_less() {
        let weights = |text: &str| plan(text, 8, 6).unwrap().weights;
        // Ten classes of eight by eight pixels of six channels follow.
        let dense = (384 + 1) * 10;
        assert_eq!(weights("conv(6, 3), dense(10)") - dense, 54 * 6 + 6);
        assert_eq!(
            weights("conv(6, 3, groups: 2), dense(10)") - dense,
            27 * 6 + 6
        );
        assert_eq!(weights("depthwise_conv(3), dense(10)") - dense, 9 * 6 + 6);
        let products = |text: &str| plan(text, 8, 6).unwrap().products();
        let layer =
            |text: &str| products(&format!("{text}, dense(10)")) - products("dense(10)");
        assert_eq!(layer("conv(6, 3, groups: 6)"), layer("depthwise_conv(3)"));
        assert_eq!(layer("conv(6, 3)"), 6.0 * layer("depthwise_conv(3)"));
    }

    #[test]
    fn what_does_not_fit_into_memory_is_refused() {
        check_refused("dense(1000000), dense(1000000), dense(10)", 28, "weights");
        check_refused("conv(1000000, 3), dense(10)", 28, "values for one image");
        check_refused("conv(3, 1000000), dense(10)", 28, "smaller than its window");
    }
}
