//! Tables of mixed columns, and how their values become the numbers that a network sees.
//!
//! A dataset of columns keeps one number for each value of a row: a number itself, days since
//! 1970 for dates and times, or the place of a text in the sorted list of its column's texts;
//! NaN stands for NULL. [`Layout`] says which inputs of a network each column becomes, which
//! depends on the whole dataset and so is the same for all its trials. [`Encoding`] adds what
//! one trial measures on its training split: medians, means, standard deviations, and which
//! texts it has seen. The ONNX file of the trial computes the same from the columns as they
//! are (`onnx/columns.rs`).

use std::f32::consts::TAU;

use serde::Serialize;

use crate::Error;
use crate::dataset::is_usable;
use crate::precision::{narrowed, needs_64_bits};
use crate::scaling::Scale;

/// A column with at most this many different texts becomes an input for each of them, unless
/// the hyperparameter `embedding` says something else.
const ONE_HOT: usize = 32;

/// The texts of a column that have a vector of their own. The rarest of more share one with
/// the texts that nobody has seen.
const MOST_EMBEDDED: usize = 10_000;

/// The place of texts that the training split does not have.
const UNSEEN: u32 = 0;

/// The place of NULL.
pub(crate) const MISSING: u32 = 1;

/// The place of the first text.
const FIRST: u32 = 2;

/// The mean length of a year in the Gregorian calendar, in days.
const YEAR: f64 = 365.2425;

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Numbers, or truth values as 0 and 1.
    Number,
    /// As many numbers in each row, none of them missing.
    List(usize),
    /// Days since 1970-01-01.
    Date,
    /// The same with fractions.
    Timestamp,
    /// Places in this list, which is sorted and has no text twice.
    Text(Vec<String>),
}

/// A column that a network sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, which becomes that of an input of the ONNX file.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether 32 bits do not tell its numbers apart.
    pub(crate) wide: bool,
    /// Whether any row has no value.
    has_missing: bool,
    /// The least and the largest value.
    range: (f64, f64),
}

impl Column {
    /// A column of which nothing but the name and the kind is known yet.
    pub fn new(name: String, kind: ColumnKind) -> Self {
        Self {
            name,
            kind,
            wide: false,
            has_missing: false,
            range: (f64::INFINITY, f64::NEG_INFINITY),
        }
    }

    /// How many numbers it has in a row.
    pub fn width(&self) -> usize {
        match self.kind {
            ColumnKind::List(width) => width,
            _ => 1,
        }
    }

    /// The texts of a column of text.
    pub(crate) fn texts(&self) -> Option<&[String]> {
        match &self.kind {
            ColumnKind::Text(texts) => Some(texts),
            _ => None,
        }
    }

    /// Whether the numbers are times, which keep 64 bits until they are scaled.
    fn is_time(&self) -> bool {
        matches!(self.kind, ColumnKind::Date | ColumnKind::Timestamp)
    }

    /// Checks the values of the column in all rows, and rounds them to 32 bits where that
    /// hides nothing. `start` is where the column begins in a row of `width` numbers.
    pub fn measure(
        &mut self,
        numbers: &mut [f64],
        start: usize,
        width: usize,
    ) -> Result<(), Error> {
        let columns = start..start + self.width();
        for (row, values) in numbers.chunks_exact(width).enumerate() {
            for value in &values[columns.clone()] {
                if value.is_nan() && !matches!(self.kind, ColumnKind::List(_)) {
                    self.has_missing = true;
                } else if is_usable(*value) {
                    self.range = (self.range.0.min(*value), self.range.1.max(*value));
                } else {
                    return Err(Error::Dataset {
                        problem: format!("row {row} of {} has {value}", self.name),
                    });
                }
            }
        }
        if self.texts().is_some() {
            return Ok(());
        }
        let column = |n: usize| {
            let values = numbers.iter().skip(n).step_by(width).copied();
            values.filter(|value| !value.is_nan())
        };
        self.wide = self.is_time() || columns.clone().any(|n| needs_64_bits(column(n)));
        if !self.wide {
            for values in numbers.chunks_exact_mut(width) {
                for value in &mut values[columns.clone()] {
                    *value = narrowed(*value);
                }
            }
        }
        Ok(())
    }
}

/// A wave with which a network sees that a moment comes back, such as a day of the week.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cycle {
    /// Which of the numbers with 64 bits is the moment.
    pub(crate) place: usize,
    /// Days after which it comes back.
    pub(crate) period: f64,
    /// Days between a start of the period and 1970-01-01.
    pub(crate) offset: f64,
}

impl Cycle {
    /// How far through its period a moment is, as an angle.
    fn angle(&self, days: f64) -> f32 {
        let periods = (days + self.offset) / self.period;
        (periods - periods.floor()) as f32 * TAU
    }
}

/// A column of text among the inputs of a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextLayout {
    /// Which column of the dataset it is.
    pub(crate) column: usize,
    /// Where it is in a row of the dataset.
    offset: usize,
    /// How many different texts there are.
    texts: usize,
    /// The length of the vector that a text becomes, or an input for each text.
    vector: Option<usize>,
    has_missing: bool,
}

impl TextLayout {
    /// The inputs of a column with an input for each text, and one before them for NULL if
    /// the data has it.
    pub(crate) fn width(&self) -> usize {
        self.texts + usize::from(self.has_missing)
    }

    /// How many places there are: those of unseen texts, of NULL and of texts.
    pub(crate) fn places(&self) -> usize {
        self.texts + FIRST as usize
    }

    /// The input that is 1 for a place, if there is one.
    fn input(&self, place: u32) -> Option<usize> {
        (place as usize).checked_sub(self.places() - self.width())
    }
}

/// The vectors that the texts of a column become, which are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EmbeddingTable {
    /// How many vectors there are: one for unseen texts, one for NULL, and those of texts.
    pub(crate) rows: usize,
    /// The length of each.
    pub(crate) width: usize,
}

/// A group of numbers that are scaled with as many bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NumberLayout {
    /// Where they are in a row of the dataset.
    pub(crate) offsets: Vec<usize>,
    /// Which of them have an input that tells whether they are missing.
    pub(crate) flags: Vec<usize>,
}

/// Which inputs of a network the columns of a dataset become, in this order: numbers of 32
/// bits, whether they are missing, numbers of 64 bits, whether those are missing, sines and
/// then cosines of cycles, an input for each text, and the places of texts with vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    pub(crate) narrow: NumberLayout,
    pub(crate) wide: NumberLayout,
    pub(crate) cycles: Vec<Cycle>,
    /// Columns with an input for each text.
    pub(crate) one_hot: Vec<TextLayout>,
    /// Columns whose texts become vectors.
    pub(crate) embedded: Vec<TextLayout>,
}

impl Layout {
    /// The layout of these columns. `embedding` is the hyperparameter: the length of the
    /// vectors of all columns of text, 0 for none, or nothing for those that have many.
    pub(crate) fn new(columns: &[Column], embedding: Option<u32>) -> Self {
        let mut layout = Self::default();
        let mut offset = 0;
        for (n, column) in columns.iter().enumerate() {
            match column.texts() {
                Some(texts) => {
                    layout.add_text(column, (n, offset), texts.len(), embedding)
                }
                None => layout.add_numbers(column, offset),
            }
            offset += column.width();
        }
        layout
    }

    fn add_text(
        &mut self,
        column: &Column,
        (place, offset): (usize, usize),
        texts: usize,
        embedding: Option<u32>,
    ) {
        let vector = match embedding {
            Some(0) => None,
            Some(length) => Some(length as usize),
            None => (texts > ONE_HOT).then(|| embedding_width(texts)),
        };
        let text = TextLayout {
            column: place,
            offset,
            texts,
            vector,
            has_missing: column.has_missing,
        };
        match vector {
            Some(_) => self.embedded.push(text),
            None => self.one_hot.push(text),
        }
    }

    fn add_numbers(&mut self, column: &Column, offset: usize) {
        let group = match column.wide {
            true => &mut self.wide,
            false => &mut self.narrow,
        };
        let first = group.offsets.len();
        group.offsets.extend(offset..offset + column.width());
        if column.has_missing {
            group.flags.push(first);
        }
        if column.is_time() {
            let cycles = cycles(column.range, column.kind == ColumnKind::Timestamp);
            self.cycles.extend(cycles.map(|(period, offset)| Cycle {
                place: first,
                period,
                offset,
            }));
        }
    }

    /// The inputs before the places of texts with vectors.
    pub(crate) fn passed(&self) -> usize {
        let numbers = [&self.narrow, &self.wide].map(|n| n.offsets.len() + n.flags.len());
        let one_hot: usize = self.one_hot.iter().map(TextLayout::width).sum();
        numbers.iter().sum::<usize>() + 2 * self.cycles.len() + one_hot
    }

    /// All inputs.
    pub(crate) fn width(&self) -> usize {
        self.passed() + self.embedded.len()
    }

    /// The vectors of each column that has them.
    pub(crate) fn tables(&self) -> Vec<EmbeddingTable> {
        let table = |text: &TextLayout| EmbeddingTable {
            rows: text.texts.min(MOST_EMBEDDED) + FIRST as usize,
            width: text.vector.unwrap_or_default(),
        };
        self.embedded.iter().map(table).collect()
    }
}

/// The length of the vectors of a column with so many texts: the rule of fastai's
/// `emb_sz_rule`, with at most 50 numbers in place of 600.
fn embedding_width(texts: usize) -> usize {
    ((1.6 * (texts as f64).powf(0.56)).round() as usize).clamp(2, 50)
}

/// The cycles that times within a range have, as periods and offsets in days: a day for times
/// with fractions, a week, and a year where there is more than half of one.
fn cycles(
    (least, most): (f64, f64),
    has_times: bool,
) -> impl Iterator<Item = (f64, f64)> {
    let span = most - least;
    let day = (has_times && span > 0.0).then_some((1.0, 0.0));
    // 1970-01-01 was a Thursday, three days after a Monday.
    let week = (span >= 2.0).then_some((7.0, 3.0));
    let year = (span > YEAR / 2.0).then_some((YEAR, 0.0));
    [day, week, year].into_iter().flatten()
}

/// How the numbers of a group are filled in and scaled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NumberEncoding {
    /// What stands in for a missing number: the median of the training split.
    pub(crate) medians: Vec<f64>,
    pub(crate) scales: Vec<Scale>,
}

/// How one trial turns the columns of a dataset into the inputs of its network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoding {
    pub(crate) layout: Layout,
    pub(crate) narrow: NumberEncoding,
    pub(crate) wide: NumberEncoding,
    /// For each column of text, those with an input for each text first, the place of each
    /// text.
    places: Vec<Vec<u32>>,
}

impl Encoding {
    /// Measures the rows of the training split and no others, because the others stand for
    /// data that nobody has seen.
    pub(crate) fn new(
        layout: Layout,
        numbers: &[f64],
        width: usize,
        rows: &[u32],
    ) -> Self {
        let column = |offset: usize| {
            let value = move |row: &u32| numbers[*row as usize * width + offset];
            rows.iter().map(value)
        };
        let group = |group: &NumberLayout, wide: bool| {
            let mut encoding = NumberEncoding::default();
            for offset in &group.offsets {
                let median = median(column(*offset), wide);
                let filled = column(*offset).map(|x| if x.is_nan() { median } else { x });
                encoding.medians.push(median);
                encoding.scales.push(Scale::of(filled, wide));
            }
            encoding
        };
        let texts = layout.one_hot.iter().chain(&layout.embedded);
        let places = texts.map(|text| places(text, column(text.offset)));
        Self {
            narrow: group(&layout.narrow, false),
            wide: group(&layout.wide, true),
            places: places.collect(),
            layout,
        }
    }

    /// The columns of text with the place of each of their texts.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&TextLayout, &[u32])> {
        let texts = self.layout.one_hot.iter().chain(&self.layout.embedded);
        texts.zip(self.places.iter().map(Vec::as_slice))
    }

    /// Writes what a network sees of a row.
    pub(crate) fn encode(&self, row: &[f64], inputs: &mut [f32]) {
        let Layout {
            narrow,
            wide,
            cycles,
            one_hot,
            ..
        } = &self.layout;
        inputs.fill(0.0);
        let (narrow_inputs, rest) = inputs.split_at_mut(narrow.offsets.len());
        let (flags, rest) = rest.split_at_mut(narrow.flags.len());
        self.narrow.encode(narrow, row, narrow_inputs, flags);
        let (wide_inputs, rest) = rest.split_at_mut(wide.offsets.len());
        let (flags, rest) = rest.split_at_mut(wide.flags.len());
        self.wide.encode(wide, row, wide_inputs, flags);
        let (sines, rest) = rest.split_at_mut(cycles.len());
        let (cosines, mut rest) = rest.split_at_mut(cycles.len());
        for (cycle, (sine, cosine)) in cycles.iter().zip(sines.iter_mut().zip(cosines)) {
            let days = self.wide.filled(wide, row, cycle.place);
            (*sine, *cosine) = cycle.angle(days).sin_cos();
        }
        let mut places = self.places.iter();
        let place_of = |text: &TextLayout, places: &[u32]| match row[text.offset] {
            value if value.is_nan() => MISSING,
            value => places[value as usize],
        };
        for (text, places) in one_hot.iter().zip(places.by_ref()) {
            let (inputs, after) = rest.split_at_mut(text.width());
            if let Some(input) = text.input(place_of(text, places)) {
                inputs[input] = 1.0;
            }
            rest = after;
        }
        for ((text, places), input) in self.layout.embedded.iter().zip(places).zip(rest) {
            *input = place_of(text, places) as f32;
        }
    }
}

impl NumberEncoding {
    /// One of the numbers of a row, or the median where it is missing.
    fn filled(&self, layout: &NumberLayout, row: &[f64], place: usize) -> f64 {
        match row[layout.offsets[place]] {
            missing if missing.is_nan() => self.medians[place],
            number => number,
        }
    }

    fn encode(
        &self,
        layout: &NumberLayout,
        row: &[f64],
        inputs: &mut [f32],
        flags: &mut [f32],
    ) {
        for (place, (input, scale)) in inputs.iter_mut().zip(&self.scales).enumerate() {
            *input = scale.apply(self.filled(layout, row, place));
        }
        for (flag, place) in flags.iter_mut().zip(&layout.flags) {
            *flag = f32::from(u8::from(row[layout.offsets[*place]].is_nan()));
        }
    }
}

/// The middle of the numbers that are there, as `numpy.nanmedian` finds it; 0 without any.
fn median(numbers: impl Iterator<Item = f64>, wide: bool) -> f64 {
    let mut numbers: Vec<f64> = numbers.filter(|number| !number.is_nan()).collect();
    if numbers.is_empty() {
        return 0.0;
    }
    let middle = numbers.len() / 2;
    let is_even = numbers.len().is_multiple_of(2);
    let (below, upper, _) = numbers.select_nth_unstable_by(middle, f64::total_cmp);
    let median = match below.iter().copied().max_by(f64::total_cmp) {
        Some(lower) if is_even => lower + (*upper - lower) / 2.0,
        _ => *upper,
    };
    if wide { median } else { narrowed(median) }
}

/// The place of each text of a column. With an input for each text those that the training
/// split has keep their own. With vectors, texts that it has once share the vector of those
/// that it has not, so that this vector learns what rare texts mean.
fn places(text: &TextLayout, values: impl Iterator<Item = f64>) -> Vec<u32> {
    let mut rows = vec![0_usize; text.texts];
    for value in values.filter(|value| !value.is_nan()) {
        rows[value as usize] += 1;
    }
    let least = if text.vector.is_some() { 2 } else { 1 };
    let mut places: Vec<u32> = vec![UNSEEN; text.texts];
    let mut frequent: Vec<usize> =
        (0..text.texts).filter(|n| rows[*n] >= least).collect();
    if text.vector.is_some() && text.texts > MOST_EMBEDDED {
        frequent.sort_by_key(|n| std::cmp::Reverse(rows[*n]));
        frequent.truncate(MOST_EMBEDDED);
        for (rank, n) in (FIRST..).zip(frequent) {
            places[n] = rank;
        }
    } else {
        for n in frequent {
            places[n] = FIRST + n as u32;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const NULL: f64 = f64::NAN;

    fn text(texts: &[&str]) -> ColumnKind {
        ColumnKind::Text(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    fn columns(kinds: Vec<ColumnKind>, numbers: &mut [f64]) -> Vec<Column> {
        let width = kinds.len();
        let mut columns: Vec<Column> = kinds
            .into_iter()
            .enumerate()
            .map(|(n, kind)| Column::new(format!("c{n}"), kind))
            .collect();
        for (n, column) in columns.iter_mut().enumerate() {
            column.measure(numbers, n, width).unwrap();
        }
        columns
    }

    fn encoded(encoding: &Encoding, row: &[f64]) -> Vec<f32> {
        let mut inputs = vec![9.0; encoding.layout.width()];
        encoding.encode(row, &mut inputs);
        inputs
    }

    // >>> SimpleImputer(strategy='median', add_indicator=True), then StandardScaler on the
    // >>> first column: median 2, mean 2.25, scale_ sqrt(2.1875)
    #[test]
    fn a_missing_number_is_the_median_and_says_so() {
        let mut numbers = [1.0, 2.0, NULL, 5.0, 1.0];
        numbers.swap(3, 4);
        let columns = columns(vec![ColumnKind::Number], &mut numbers);
        let layout = Layout::new(&columns, None);
        assert_eq!(layout.width(), 2);
        let encoding = Encoding::new(layout, &numbers, 1, &[0, 1, 2, 4]);
        assert_eq!(encoding.narrow.medians, [2.0]);
        let scale = (((1.0_f64 - 2.5).powi(2) + 2.0 * 0.25 + 6.25) / 4.0).sqrt();
        let expected = ((2.0 - 2.5) / scale) as f32;
        let missing = encoded(&encoding, &[NULL]);
        assert!((missing[0] - expected).abs() < 1e-6, "{missing:?}");
        assert_eq!(missing[1], 1.0);
        assert_eq!(encoded(&encoding, &[5.0])[1], 0.0);
    }

    #[test]
    fn each_text_has_an_input_and_an_unseen_one_has_none() {
        let mut numbers = [0.0, 1.0, NULL, 2.0];
        let columns = columns(vec![text(&["a", "b", "c"])], &mut numbers);
        let layout = Layout::new(&columns, None);
        // The last row validates, so that nobody has seen "c".
        let encoding = Encoding::new(layout, &numbers, 1, &[0, 1, 2]);
        assert_eq!(encoded(&encoding, &[1.0]), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(encoded(&encoding, &[NULL]), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(encoded(&encoding, &[2.0]), [0.0; 4]);
    }

    #[test]
    fn many_texts_become_places_of_vectors() {
        let names: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
        let mut numbers: Vec<f64> = (0..80).map(|n| f64::from(n % 40)).collect();
        let kind = ColumnKind::Text(names);
        let columns = columns(vec![kind, ColumnKind::Number], &mut {
            numbers
                .clone()
                .into_iter()
                .flat_map(|n| [n, 0.5])
                .collect::<Vec<_>>()
        });
        let layout = Layout::new(&columns, None);
        assert_eq!((layout.passed(), layout.width()), (1, 2));
        assert_eq!(
            layout.tables(),
            [EmbeddingTable {
                rows: 42,
                width: 13
            }]
        );
        numbers = numbers.into_iter().flat_map(|n| [n, 0.5]).collect();
        // Texts 30 to 39 are there once, and so share the place of unseen ones.
        let rows: Vec<u32> = (0..70).collect();
        let encoding = Encoding::new(layout, &numbers, 2, &rows);
        assert_eq!(encoded(&encoding, &[7.0, 0.5])[1], 9.0);
        assert_eq!(encoded(&encoding, &[33.0, 0.5])[1], UNSEEN as f32);
        assert_eq!(encoded(&encoding, &[NULL, 0.5])[1], MISSING as f32);
        assert_eq!(Layout::new(&columns, Some(0)).width(), 41);
        assert_eq!(Layout::new(&columns, Some(8)).tables()[0].width, 8);
    }

    #[test]
    fn dates_are_numbers_and_come_back() {
        // Two years from 2024-01-01, which was a Monday.
        let mut numbers: Vec<f64> = (0..731).map(|n| 19_723.0 + f64::from(n)).collect();
        let columns = columns(vec![ColumnKind::Date], &mut numbers);
        assert!(columns[0].wide);
        let layout = Layout::new(&columns, None);
        let rows: Vec<u32> = (0..731).collect();
        let encoding = Encoding::new(layout, &numbers, 1, &rows);
        let (monday, next) = (
            encoded(&encoding, &[19_723.0]),
            encoded(&encoding, &[19_730.0]),
        );
        assert_eq!(monday.len(), 5);
        // Sines and cosines of week and year.
        assert_eq!((monday[1], monday[3]), (next[1], next[3]));
        assert!((monday[1]).abs() < 1e-6 && (monday[3] - 1.0).abs() < 1e-6);
        assert!(monday[2].abs() < 0.02, "{monday:?}");
        assert!(monday[0] < -1.7 && monday[0] > -1.8);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let mut column = Column::new("x".to_owned(), ColumnKind::Number);
        let error = column.measure(&mut [1.0, f64::INFINITY], 0, 1).unwrap_err();
        assert_eq!(error.to_string(), "dataset: row 1 of x has inf");
        let mut column = Column::new("x".to_owned(), ColumnKind::List(2));
        assert!(column.measure(&mut [1.0, NULL], 0, 2).is_err());
    }

    #[test]
    fn the_median_is_the_middle() {
        let of = |numbers: &[f64]| median(numbers.iter().copied(), true);
        assert_eq!(of(&[3.0, NULL, 1.0]), 2.0);
        assert_eq!(of(&[5.0, 3.0, 1.0]), 3.0);
        assert_eq!(of(&[NULL]), 0.0);
    }
}
