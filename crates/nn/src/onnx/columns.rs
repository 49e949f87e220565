//! Mixed columns as ONNX nodes: from an input for each column to what a network sees of a row.
//!
//! The nodes compute what [`Encoding::encode`] computes, for a mini-batch of rows. A number is
//! missing where it is NaN, and a text where it is empty.

use super::graph::{Builder, element_of, value_info};
use super::proto::{Attribute, DOUBLE, FLOAT, STRING, ValueInfo};
use crate::columns::{
    Column, Cycle, Encoding, MISSING, NumberEncoding, NumberLayout, TextLayout,
};

/// The inputs of a graph that takes these columns.
pub(super) fn inputs(columns: &[Column]) -> Vec<ValueInfo> {
    let input = |column: &Column| {
        let element = match (column.texts(), column.wide) {
            (Some(_), _) => STRING,
            (None, wide) => element_of(wide),
        };
        value_info(&column.name, element, &[column.width()])
    };
    columns.iter().map(input).collect()
}

/// Nodes that a graph puts before its network.
pub(super) struct ColumnNodes<'a> {
    builder: &'a mut Builder,
    columns: &'a [Column],
    encoding: &'a Encoding,
    /// What the network sees of a row, part after part.
    parts: Vec<String>,
}

impl<'a> ColumnNodes<'a> {
    pub(super) fn new(
        builder: &'a mut Builder,
        columns: &'a [Column],
        encoding: &'a Encoding,
    ) -> Self {
        Self {
            builder,
            columns,
            encoding,
            parts: Vec::new(),
        }
    }

    /// Adds the nodes. `tables` are the vectors of the columns that have them.
    pub(super) fn add(mut self, tables: &[&[f32]]) {
        let encoding = self.encoding;
        let layout = &encoding.layout;
        self.numbers(&layout.narrow, &encoding.narrow, false);
        let moments = self.numbers(&layout.wide, &encoding.wide, true);
        if let (Some(moments), false) = (moments, layout.cycles.is_empty()) {
            self.cycles(&layout.cycles, moments);
        }
        let mut tables = tables.iter().zip(layout.tables());
        let one_hot = layout.one_hot.len();
        for (n, (text, places)) in encoding.texts().enumerate() {
            let places = self.places(text, places);
            let part = if n < one_hot {
                self.one_hot(text, places)
            } else if let Some((table, size)) = tables.next() {
                let shape = [size.rows, size.width];
                let table = self.builder.constant("vectors", &shape, table);
                let axis = Attribute::of_int("axis", 0);
                let vectors = self.apply("Gather", &[table, places], vec![axis]);
                self.flat(vectors)
            } else {
                continue;
            };
            self.parts.push(part);
        }
        let parts = std::mem::take(&mut self.parts);
        self.apply("Concat", &parts, vec![Attribute::of_int("axis", 1)]);
    }

    fn apply(
        &mut self,
        operator: &str,
        inputs: &[String],
        attributes: Vec<Attribute>,
    ) -> String {
        self.builder.apply(operator, inputs.to_vec(), attributes)
    }

    fn flat(&mut self, value: String) -> String {
        self.apply("Flatten", &[value], vec![Attribute::of_int("axis", 1)])
    }

    /// Fills in and scales a group of numbers; returns them filled in and not yet scaled.
    fn numbers(
        &mut self,
        layout: &NumberLayout,
        encoding: &NumberEncoding,
        wide: bool,
    ) -> Option<String> {
        let is_in = |column: &&Column| column.texts().is_none() && column.wide == wide;
        let names: Vec<String> = self
            .columns
            .iter()
            .filter(is_in)
            .map(|column| column.name.clone())
            .collect();
        if names.is_empty() {
            return None;
        }
        let element = element_of(wide);
        let count = [layout.offsets.len()];
        let axis = || vec![Attribute::of_int("axis", 1)];
        let values = self.apply("Concat", &names, axis());
        let missing = self.apply("IsNaN", std::slice::from_ref(&values), vec![]);
        let medians = encoding.medians.iter().copied();
        let medians = self.builder.scale("median", element, &count, medians);
        let filled = self.apply("Where", &[missing.clone(), medians, values], vec![]);
        let means = encoding.scales.iter().map(|scale| scale.mean);
        let means = self.builder.scale("mean", element, &count, means);
        let mut scaled = self.apply("Sub", &[filled.clone(), means], vec![]);
        let inverses = encoding.scales.iter().map(|scale| scale.inverse);
        let inverses = self.builder.scale("inverse", element, &count, inverses);
        scaled = self.apply("Mul", &[scaled, inverses], vec![]);
        let to_float = || vec![Attribute::of_int("to", FLOAT.into())];
        if wide {
            scaled = self.apply("Cast", &[scaled], to_float());
        }
        self.parts.push(scaled);
        if !layout.flags.is_empty() {
            let places = self.builder.integers("flags", &layout.flags);
            let flags = self.apply("Cast", &[missing], to_float());
            let flags = self.apply("Gather", &[flags, places], axis());
            self.parts.push(flags);
        }
        Some(filled)
    }

    /// Sines and cosines of moments, which are days.
    fn cycles(&mut self, cycles: &[Cycle], moments: String) {
        let count = [cycles.len()];
        let places: Vec<usize> = cycles.iter().map(|cycle| cycle.place).collect();
        let places = self.builder.integers("cycles", &places);
        let axis = vec![Attribute::of_int("axis", 1)];
        let days = self.apply("Gather", &[moments, places], axis);
        let offsets = cycles.iter().map(|cycle| cycle.offset);
        let offsets = self.builder.scale("offset", DOUBLE, &count, offsets);
        let days = self.apply("Add", &[days, offsets], vec![]);
        let periods = cycles.iter().map(|cycle| cycle.period);
        let periods = self.builder.scale("period", DOUBLE, &count, periods);
        let periods = self.apply("Div", &[days, periods], vec![]);
        let whole = self.apply("Floor", std::slice::from_ref(&periods), vec![]);
        let part = self.apply("Sub", &[periods, whole], vec![]);
        let to_float = vec![Attribute::of_int("to", FLOAT.into())];
        let part = self.apply("Cast", &[part], to_float);
        let turn = self
            .builder
            .constant("turn", &[1], &[std::f32::consts::TAU]);
        let angles = self.apply("Mul", &[part, turn], vec![]);
        for function in ["Sin", "Cos"] {
            let wave = self.apply(function, std::slice::from_ref(&angles), vec![]);
            self.parts.push(wave);
        }
    }

    /// The place of the text of each row.
    fn places(&mut self, text: &TextLayout, places: &[u32]) -> String {
        let column = &self.columns[text.column];
        let seen = column.texts().unwrap_or_default().iter().zip(places);
        let seen = seen.filter(|(_, place)| **place > MISSING);
        let missing = (String::new(), MISSING as usize);
        let (texts, places): (Vec<_>, Vec<_>) = seen
            .map(|(text, place)| (text.clone(), *place as usize))
            .chain([missing])
            .unzip();
        let attributes = vec![
            Attribute::of_texts("keys_strings", &texts),
            Attribute::of_ints("values_int64s", &places),
            Attribute::of_int("default_int64", 0),
        ];
        self.builder
            .apply_of_ml("LabelEncoder", vec![column.name.clone()], attributes)
    }

    /// An input for NULL, if the data has it, and for each text.
    fn one_hot(&mut self, text: &TextLayout, places: String) -> String {
        let all = text.places();
        let depth = self.builder.integers("depth", &[all]);
        let values = self.builder.constant("values", &[2], &[0.0, 1.0]);
        let axis = vec![Attribute::of_int("axis", -1)];
        let places = self.apply("OneHot", &[places, depth, values], axis);
        let places = self.flat(places);
        let range = [("start", all - text.width()), ("end", all), ("axis", 1)];
        let range = range.map(|(name, value)| self.builder.integers(name, &[value]));
        let inputs = [std::slice::from_ref(&places), &range].concat();
        self.apply("Slice", &inputs, vec![])
    }
}
