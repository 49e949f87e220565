//! Mixed columns on their way from record batches to a snapshot: numbers, dates, texts and
//! gaps, by the names of their columns.

use std::collections::HashMap;

use atoll_nn::ColumnKind;

/// Fewer rows than this say nothing of whether a column is like an id.
const FEW_ROWS: usize = 10;

/// More different texts than this in a column are no categories.
const MOST_TEXTS: usize = 100_000;

/// What stands for NULL among the places of texts.
const NULL: u32 = u32::MAX;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Numbers that may have fractions, or truth values.
    Numbers,
    /// Whole numbers.
    Integers,
    /// Lists of numbers, of the same length in all rows.
    Lists,
    /// Days since 1970-01-01.
    Dates,
    /// The same with fractions.
    Timestamps,
    /// Text.
    Texts,
}

/// One column of all rows, or of a part of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    pub(crate) holds: Holds,
    /// Numbers, days or, row after row, the numbers of lists; NaN where there is none. Empty
    /// for text.
    pub(crate) numbers: Vec<f64>,
    /// Texts, of a column of text.
    pub(crate) texts: Texts,
    /// How many numbers a list has; 1 for other columns, and none before the first row.
    pub(crate) width: Option<usize>,
}

/// The texts of a column, each kept once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Texts {
    /// The place of the text of each row, or [`NULL`].
    places: Vec<u32>,
    texts: Vec<String>,
    known: HashMap<String, u32>,
}

impl Texts {
    /// Adds the text of a row. An empty one is none.
    pub(crate) fn push(&mut self, text: Option<&str>) {
        let place = match text.filter(|text| !text.is_empty()) {
            Some(text) => self.place(text),
            None => NULL,
        };
        self.places.push(place);
    }

    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.known.get(text) {
            return *place;
        }
        let place = self.texts.len() as u32;
        self.texts.push(text.to_string());
        self.known.insert(text.to_string(), place);
        place
    }

    fn append(&mut self, other: &Texts) {
        let places: Vec<u32> = other.texts.iter().map(|text| self.place(text)).collect();
        let place = |place: &u32| places.get(*place as usize).copied().unwrap_or(NULL);
        self.places.extend(other.places.iter().map(place));
    }

    /// The text of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        let text = self.texts.get(self.places[row] as usize);
        text.map(String::as_str)
    }

    fn rows_with_text(&self) -> usize {
        self.places.iter().filter(|place| **place != NULL).count()
    }

    /// All texts in their order, and the place of that of each row among them.
    fn sorted(&self) -> (Vec<String>, Vec<f64>) {
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        order.sort_unstable_by(|a, b| self.texts[*a].cmp(&self.texts[*b]));
        let mut ranks = vec![0.0; order.len()];
        for (rank, n) in order.iter().enumerate() {
            ranks[*n] = rank as f64;
        }
        let rank = |place: &u32| ranks.get(*place as usize).copied().unwrap_or(f64::NAN);
        let texts = order.into_iter().map(|n| self.texts[n].clone());
        (texts.collect(), self.places.iter().map(rank).collect())
    }
}

impl TableColumn {
    pub(crate) fn new(name: &str, holds: Holds) -> Self {
        Self {
            name: name.to_string(),
            holds,
            numbers: Vec::new(),
            texts: Texts::default(),
            width: (holds != Holds::Lists).then_some(1),
        }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        match self.holds {
            Holds::Texts => self.texts.places.len(),
            _ => self.numbers.len() / self.width.unwrap_or(1).max(1),
        }
    }

    pub(crate) fn append(&mut self, other: &TableColumn) {
        self.numbers.extend_from_slice(&other.numbers);
        self.texts.append(&other.texts);
        self.width = self.width.or(other.width);
    }

    /// Takes the values that these rows of `other` have, a column of the same texts.
    pub(crate) fn take(&mut self, other: &TableColumn, rows: &[u32]) {
        let width = self.width.unwrap_or(1).max(1);
        for (target, row) in self.numbers.chunks_exact_mut(width).zip(rows) {
            target.copy_from_slice(&other.numbers[*row as usize * width..][..width]);
        }
        for (target, row) in self.texts.places.iter_mut().zip(rows) {
            *target = other.texts.places[*row as usize];
        }
    }

    /// How many different texts it has, if those are too many for a model to keep.
    pub(crate) fn too_many_texts(&self) -> Option<usize> {
        let count = self.texts.texts.len();
        (count > MOST_TEXTS).then_some(count)
    }

    /// Why a network learns nothing from the column, as the rest of a sentence, if that is so.
    pub(crate) fn is_useless(&self) -> Option<&'static str> {
        match self.holds {
            Holds::Lists => None,
            _ if self.is_constant() => Some("the same in all rows"),
            Holds::Texts if self.len() >= FEW_ROWS => {
                let all_differ = self.texts.texts.len() == self.texts.rows_with_text();
                all_differ.then_some("another text in each row, like an id")
            }
            Holds::Integers if self.len() >= FEW_ROWS && is_called_id(&self.name) => self
                .all_differ()
                .then_some("another number in each row, like an id"),
            _ => None,
        }
    }

    fn is_constant(&self) -> bool {
        match (self.holds, self.numbers.split_first()) {
            (Holds::Texts, _) => {
                let places = &self.texts.places;
                places.iter().all(|place| *place == places[0])
            }
            (_, Some((first, rest))) => rest
                .iter()
                .all(|n| n == first || (n.is_nan() && first.is_nan())),
            (_, None) => true,
        }
    }

    fn all_differ(&self) -> bool {
        let mut numbers: Vec<u64> = self.numbers.iter().map(|n| n.to_bits()).collect();
        numbers.sort_unstable();
        numbers.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// Whether a column's name says that it holds ids.
fn is_called_id(name: &str) -> bool {
    let lower = name.to_lowercase();
    ["id", "index", "rowid", "row_number", "uuid", "key"].contains(&lower.as_str())
        || lower.ends_with("_id")
        || lower.ends_with("_key")
        || name.ends_with("Id")
        || name.ends_with("ID")
}

/// The columns of a table as a dataset has them: in the order of their names, so that a
/// table's order changes nothing, and row after row.
pub(crate) fn flat(
    columns: &[TableColumn],
) -> Result<(Vec<atoll_nn::Column>, Vec<f64>), atoll_nn::Error> {
    let mut sorted: Vec<&TableColumn> = columns.iter().collect();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let width: usize = sorted.iter().map(|column| column.width.unwrap_or(1)).sum();
    let rows = columns.first().map_or(0, TableColumn::len);
    let mut numbers = vec![0.0; rows * width];
    let mut described = Vec::with_capacity(sorted.len());
    let mut start = 0;
    for column in sorted {
        let mut put = |values: &[f64], count: usize| {
            let rows = numbers
                .chunks_exact_mut(width)
                .zip(values.chunks_exact(count));
            for (row, values) in rows {
                row[start..start + count].copy_from_slice(values);
            }
            start += count;
        };
        let count = column.width.unwrap_or(1);
        let kind = match column.holds {
            Holds::Texts => {
                let (texts, places) = column.texts.sorted();
                put(&places, 1);
                ColumnKind::Text(texts)
            }
            holds => {
                put(&column.numbers, count);
                match holds {
                    Holds::Lists => ColumnKind::List(count),
                    Holds::Dates => ColumnKind::Date,
                    Holds::Timestamps => ColumnKind::Timestamp,
                    _ => ColumnKind::Number,
                }
            }
        };
        let mut one = atoll_nn::Column::new(column.name.clone(), kind);
        one.measure(&mut numbers, start - count, width)?;
        described.push(one);
    }
    Ok((described, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[Option<&str>]) -> TableColumn {
        let mut column = TableColumn::new("city", Holds::Texts);
        texts.iter().for_each(|text| column.texts.push(*text));
        column
    }

    fn numbers(name: &str, holds: Holds, numbers: &[f64]) -> TableColumn {
        TableColumn {
            numbers: numbers.to_vec(),
            ..TableColumn::new(name, holds)
        }
    }

    #[test]
    fn appended_texts_keep_one_place() {
        let mut all = texts(&[Some("b"), None]);
        all.append(&texts(&[Some("a"), Some("b"), Some("")]));
        assert_eq!(all.len(), 5);
        assert_eq!((all.texts.get(2), all.texts.get(4)), (Some("a"), None));
        let (names, places) = all.texts.sorted();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(places[..1], [1.0]);
        assert_eq!(places[2..4], [0.0, 1.0]);
        assert!(places[1].is_nan() && places[4].is_nan());
    }

    #[test]
    fn a_column_takes_the_values_of_other_rows() {
        let column = texts(&[Some("b"), None, Some("a")]);
        let mut taken = column.clone();
        taken.take(&column, &[2, 0, 1]);
        let found: Vec<_> = (0..3).map(|row| taken.texts.get(row)).collect();
        assert_eq!(found, [Some("a"), Some("b"), None]);
        let column = TableColumn {
            width: Some(2),
            ..numbers("a", Holds::Lists, &[1.0, 2.0, 3.0, 4.0])
        };
        let mut taken = column.clone();
        taken.take(&column, &[1, 0]);
        assert_eq!(taken.numbers, [3.0, 4.0, 1.0, 2.0]);
    }

    #[test]
    fn ids_and_constants_are_useless() {
        let reason = |column: &TableColumn| column.is_useless().unwrap_or_default();
        let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let many: Vec<Option<&str>> = many.iter().map(|n| Some(n.as_str())).collect();
        assert!(reason(&texts(&many)).contains("like an id"));
        assert_eq!(reason(&texts(&many[..5])), "");
        assert_eq!(
            reason(&texts(&[Some("a"), Some("a")])),
            "the same in all rows"
        );
        assert_eq!(reason(&texts(&[Some("a"), None])), "");
        let ids: Vec<f64> = (0..20).map(f64::from).collect();
        assert!(
            reason(&numbers("user_id", Holds::Integers, &ids)).contains("like an id")
        );
        assert_eq!(reason(&numbers("age", Holds::Integers, &ids)), "");
        assert_eq!(reason(&numbers("paid", Holds::Integers, &ids)), "");
        assert_eq!(reason(&numbers("id", Holds::Numbers, &ids)), "");
        let gaps = [f64::NAN, f64::NAN];
        assert_eq!(
            reason(&numbers("x", Holds::Numbers, &gaps)),
            "the same in all rows"
        );
    }

    #[test]
    fn columns_lie_in_the_order_of_their_names() {
        let columns = [
            numbers("b", Holds::Numbers, &[1.0, 2.0]),
            texts(&[Some("y"), Some("x")]),
            TableColumn {
                width: Some(2),
                ..numbers("a", Holds::Lists, &[3.0, 4.0, 5.0, 6.0])
            },
        ];
        let (described, values) = flat(&columns).unwrap();
        let names: Vec<&str> = described.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "city"]);
        assert_eq!(values, [3.0, 4.0, 1.0, 1.0, 5.0, 6.0, 2.0, 0.0]);
    }
}
