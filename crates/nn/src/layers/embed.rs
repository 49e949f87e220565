//! Vectors for the texts of columns: the first layer of a network of mixed columns.

use super::{Flow, Layer, Pass};
use crate::columns::EmbeddingTable;

/// Passes the first inputs of a row on and puts a vector in the place of each other one, which
/// is the place of a text among the vectors of its column.
///
/// Its weights are the vectors, table after table and row after row.
pub(crate) struct Embed {
    passed: usize,
    tables: Vec<EmbeddingTable>,
}

impl Embed {
    pub(crate) fn new(passed: usize, tables: Vec<EmbeddingTable>) -> Self {
        Self { passed, tables }
    }

    /// The numbers of inputs and outputs in a row.
    fn widths(&self) -> (usize, usize) {
        let vectors: usize = self.tables.iter().map(|table| table.width).sum();
        (self.passed + self.tables.len(), self.passed + vectors)
    }

    /// Calls `visit` with where the vector of each text of a row is in the weights, and where
    /// in a row of outputs.
    fn each_vector(&self, input: &[f32], mut visit: impl FnMut(usize, usize, usize)) {
        let (mut table_start, mut output) = (0, self.passed);
        for (table, place) in self.tables.iter().zip(&input[self.passed..]) {
            let row = (*place as usize).min(table.rows - 1);
            visit(table_start + row * table.width, output, table.width);
            table_start += table.rows * table.width;
            output += table.width;
        }
    }
}

impl Layer for Embed {
    fn forward(
        &mut self,
        weights: &[f32],
        input: &[f32],
        output: &mut [f32],
        _: Pass<'_>,
    ) {
        let (inputs, outputs) = self.widths();
        let rows = input
            .chunks_exact(inputs)
            .zip(output.chunks_exact_mut(outputs));
        for (input, output) in rows {
            output[..self.passed].copy_from_slice(&input[..self.passed]);
            self.each_vector(input, |from, to, width| {
                output[to..to + width].copy_from_slice(&weights[from..from + width]);
            });
        }
    }

    fn backward(
        &mut self,
        flow: Flow<'_>,
        input_gradient: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let (inputs, outputs) = self.widths();
        gradients.fill(0.0);
        let slopes = flow.output_gradient.chunks_exact(outputs);
        for (input, slopes) in flow.input.chunks_exact(inputs).zip(slopes.clone()) {
            self.each_vector(input, |from, to, width| {
                let vector = &mut gradients[from..from + width];
                for (gradient, slope) in vector.iter_mut().zip(&slopes[to..to + width]) {
                    *gradient += slope;
                }
            });
        }
        if let Some(target) = input_gradient {
            for (target, slopes) in target.chunks_exact_mut(inputs).zip(slopes) {
                target[..self.passed].copy_from_slice(&slopes[..self.passed]);
                target[self.passed..].fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Team;
    use crate::layers::PassMode;

    // >>> e = torch.nn.Embedding.from_pretrained(torch.arange(6.).reshape(3, 2), freeze=False)
    // >>> e(torch.tensor([2, 1, 2])).backward(torch.tensor([[1., 2], [3, 4], [5, 6]]))
    // >>> e.weight.grad  # [[0, 0], [3, 4], [6, 8]]
    #[test]
    fn vectors_and_gradients_are_those_of_pytorch() {
        let tables = vec![EmbeddingTable { rows: 3, width: 2 }];
        let (mut layer, team) = (Embed::new(1, tables), Team::new(1));
        let weights: Vec<f32> = (0..6_u8).map(f32::from).collect();
        let input = [0.5, 2.0, 0.25, 1.0, 0.125, 2.0];
        let mut output = [9.0; 9];
        layer.forward(
            &weights,
            &input,
            &mut output,
            Pass::alone(PassMode::Training, &team),
        );
        assert_eq!(output, [0.5, 4.0, 5.0, 0.25, 2.0, 3.0, 0.125, 4.0, 5.0]);
        let flow = Flow {
            weights: &weights,
            input: &input,
            output: &output,
            output_gradient: &[7.0, 1.0, 2.0, 8.0, 3.0, 4.0, 9.0, 5.0, 6.0],
            team: &team,
        };
        let (mut target, mut gradients) = ([9.0; 6], [9.0; 6]);
        layer.backward(flow, Some(&mut target), &mut gradients);
        assert_eq!(gradients, [0.0, 0.0, 3.0, 4.0, 6.0, 8.0]);
        assert_eq!(target, [7.0, 0.0, 8.0, 0.0, 9.0, 0.0]);
    }
}
