//! From what is known of all rows to what is odd about them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use atoll_near::Hashes;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

use super::look::{Picture, Seen};

/// The columns of the findings.
pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("kind"),
        number("row"),
        text("file"),
        text("class"),
        number("other_row"),
        text("other_file"),
        number("distance"),
        text("detail"),
    ]))
});

/// How many findings a record batch has.
const BATCH: usize = 8192;

/// An image whose luma varies by less has nothing to see in it; JPEG adds some noise.
const BLANK: f32 = 1.0;

/// How much larger or smaller than the median a side may be.
const ODD: f64 = 4.0;

/// A row of the data.
#[derive(Debug)]
pub(super) struct Row {
    /// Its number, from 1, in a table.
    pub(super) number: Option<i64>,
    pub(super) file: Option<String>,
    /// Its class, `Some(None)` if it has none, and `None` where nothing has one.
    pub(super) class: Option<Option<String>>,
    pub(super) split: Option<String>,
    pub(super) seen: Seen,
}

/// What is kept of a row.
#[derive(Debug)]
struct Kept {
    number: Option<i64>,
    file: Option<String>,
    class: Option<u32>,
    split: Option<u32>,
    size: Option<(u32, u32)>,
}

/// What is odd, in the order in which it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FindingKind {
    Unreadable,
    NoLabel,
    TwoLabels,
    AcrossSplits,
    Duplicate,
    NearDuplicate,
    Blank,
    OddSize,
    FewRows,
}

impl FindingKind {
    fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "UNREADABLE",
            Self::NoLabel => "NO_LABEL",
            Self::TwoLabels => "TWO_LABELS",
            Self::AcrossSplits => "ACROSS_SPLITS",
            Self::Duplicate => "DUPLICATE",
            Self::NearDuplicate => "NEAR_DUPLICATE",
            Self::Blank => "BLANK",
            Self::OddSize => "ODD_SIZE",
            Self::FewRows => "FEW_ROWS",
        }
    }
}

/// A finding about a row, or about a class.
#[derive(Debug)]
struct Finding {
    kind: FindingKind,
    row: Option<usize>,
    class: Option<u32>,
    other: Option<usize>,
    distance: Option<u32>,
    detail: Option<String>,
}

/// The first row of a content, or of a hash, in each split.
type Firsts = Vec<(Option<u32>, usize)>;

/// What is known of the rows that were looked at.
#[derive(Debug)]
pub(super) struct Findings {
    few_rows: u64,
    rows: Vec<Kept>,
    found: Vec<Finding>,
    /// Names of classes, and how many rows that can be used each has.
    classes: Names,
    counts: Vec<u64>,
    splits: Names,
    contents: HashMap<u128, Firsts>,
    near: Hashes,
    /// The first row of each hash that `near` knows, by its number, and its split.
    hashed: Vec<(Option<u32>, usize)>,
    hashes: HashMap<(u64, Option<u32>), u32>,
}

/// Names by small numbers.
#[derive(Debug, Default)]
struct Names {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: String) -> u32 {
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        // There are fewer names than rows.
        let number = self.names.len() as u32;
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }
}

impl Findings {
    pub(super) fn new(within: u32, few_rows: u64) -> Self {
        Self {
            few_rows,
            rows: vec![],
            found: vec![],
            classes: Names::default(),
            counts: vec![],
            splits: Names::default(),
            contents: HashMap::new(),
            near: Hashes::new(within),
            hashed: vec![],
            hashes: HashMap::new(),
        }
    }

    /// Adds a row, the rows before it first.
    pub(super) fn add(&mut self, row: Row) {
        let at = self.rows.len();
        let has_labels = row.class.is_some();
        let class = row.class.flatten().filter(|class| !class.is_empty());
        let class = class.map(|class| self.classes.number(class));
        self.counts.resize(self.classes.names.len(), 0);
        let split = row.split.map(|split| self.splits.number(split));
        let mut kept = Kept {
            number: row.number,
            file: row.file,
            class,
            split,
            size: None,
        };
        let picture = match row.seen.picture {
            Some(Err(reason)) => {
                self.rows.push(kept);
                self.find(FindingKind::Unreadable, at, None, None, Some(reason));
                return;
            }
            Some(Ok(picture)) => Some(picture),
            None => None,
        };
        kept.size = picture.map(|picture| (picture.width, picture.height));
        self.rows.push(kept);
        match class {
            Some(class) => self.counts[class as usize] += 1,
            None if has_labels => self.find(FindingKind::NoLabel, at, None, None, None),
            None => {}
        }
        let is_copy = row
            .seen
            .content
            .is_some_and(|content| self.content(at, content));
        let Some(picture) = picture else {
            return;
        };
        if picture.contrast < BLANK {
            let detail = format!("contrast {:.2}", picture.contrast);
            self.find(FindingKind::Blank, at, None, None, Some(detail));
        } else {
            self.look_alike(at, picture, is_copy);
        }
    }

    /// Compares a content with those before; whether it is one of them.
    fn content(&mut self, at: usize, content: u128) -> bool {
        let split = self.rows[at].split;
        let firsts = self.contents.entry(content).or_default();
        let first = firsts.first().map(|(_, row)| *row);
        let elsewhere = firsts.iter().find(|(other, _)| *other != split);
        let elsewhere = elsewhere.map(|(_, row)| *row);
        if !firsts.iter().any(|(other, _)| *other == split) {
            firsts.push((split, at));
        }
        let Some(first) = first else {
            return false;
        };
        self.find(FindingKind::Duplicate, at, Some(first), None, None);
        let (mine, its) = (self.rows[at].class, self.rows[first].class);
        if let (Some(mine), Some(its)) = (mine, its)
            && mine != its
        {
            let detail = format!(
                "{} here and {} there",
                self.classes.name(mine),
                self.classes.name(its)
            );
            self.find(FindingKind::TwoLabels, at, Some(first), None, Some(detail));
        }
        if let Some(other) = elsewhere {
            self.across(at, other, None);
        }
        true
    }

    /// Compares an image with those before. Of a copy it is known what it is like.
    fn look_alike(&mut self, at: usize, picture: Picture, is_copy: bool) {
        let split = self.rows[at].split;
        let key = (picture.hash, split);
        if !is_copy {
            let mut nearest: Option<(u32, usize)> = None;
            let mut elsewhere: Option<(u32, usize)> = None;
            for (number, distance) in self.near.find(picture.hash) {
                let (other, row) = self.hashed[number as usize];
                let found = Some((distance, row));
                // The nearest, and the first of those.
                let better = |best: Option<(u32, usize)>| best.is_none() || found < best;
                if better(nearest) {
                    nearest = found;
                }
                if other != split && better(elsewhere) {
                    elsewhere = found;
                }
            }
            if let Some((distance, other)) = nearest {
                let kind = FindingKind::NearDuplicate;
                self.find(kind, at, Some(other), Some(distance), None);
            }
            if let Some((distance, other)) = elsewhere {
                self.across(at, other, Some(distance));
            }
        }
        if !self.hashes.contains_key(&key) {
            let number = self.near.add(picture.hash);
            self.hashes.insert(key, number);
            self.hashed.push((split, at));
        }
    }

    fn across(&mut self, at: usize, other: usize, distance: Option<u32>) {
        let name = |row: usize| match self.rows[row].split {
            Some(split) => self.splits.name(split),
            None => "NULL",
        };
        let detail = format!("{} and {}", name(at), name(other));
        let kind = FindingKind::AcrossSplits;
        self.find(kind, at, Some(other), distance, Some(detail));
    }

    fn find(
        &mut self,
        kind: FindingKind,
        row: usize,
        other: Option<usize>,
        distance: Option<u32>,
        detail: Option<String>,
    ) {
        self.found.push(Finding {
            kind,
            row: Some(row),
            class: self.rows[row].class,
            other,
            distance,
            detail,
        });
    }

    /// Sides that are far from the median.
    fn odd_sizes(&mut self) {
        let sizes: Vec<(u32, u32)> =
            self.rows.iter().filter_map(|row| row.size).collect();
        let median = |side: fn(&(u32, u32)) -> u32| {
            let mut sides: Vec<u32> = sizes.iter().map(side).collect();
            sides.sort_unstable();
            sides.get(sides.len() / 2).copied()
        };
        let (Some(width), Some(height)) = (median(|size| size.0), median(|size| size.1))
        else {
            return;
        };
        let is_odd = |side: u32, median: u32| {
            let (side, median) = (f64::from(side), f64::from(median));
            side > median * ODD || side * ODD < median
        };
        for at in 0..self.rows.len() {
            if let Some(size) = self.rows[at].size
                && (is_odd(size.0, width) || is_odd(size.1, height))
            {
                let detail =
                    format!("{}x{}, the median is {width}x{height}", size.0, size.1);
                self.find(FindingKind::OddSize, at, None, None, Some(detail));
            }
        }
    }

    /// The findings as rows, by their kind and then by the rows of the data.
    pub(super) fn into_batches(mut self) -> Result<Vec<RecordBatch>> {
        self.odd_sizes();
        for (class, count) in self.counts.iter().enumerate() {
            if *count < self.few_rows {
                self.found.push(Finding {
                    kind: FindingKind::FewRows,
                    row: None,
                    class: Some(class as u32),
                    other: None,
                    distance: None,
                    detail: Some(format!("{count} rows")),
                });
            }
        }
        let class =
            |finding: &Finding| finding.class.map(|class| self.classes.name(class));
        self.found.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.kind, finding.row);
            key(a).cmp(&key(b)).then_with(|| class(a).cmp(&class(b)))
        });
        self.found
            .chunks(BATCH)
            .map(|some| self.batch(some))
            .collect()
    }

    fn batch(&self, findings: &[Finding]) -> Result<RecordBatch> {
        let number = |row: Option<usize>| row.and_then(|row| self.rows[row].number);
        let file = |row: Option<usize>| self.rows[row?].file.as_deref();
        let numbers = |get: &dyn Fn(&Finding) -> Option<i64>| -> ArrayRef {
            Arc::new(findings.iter().map(get).collect::<Int64Array>())
        };
        fn texts<'a>(of: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
            Arc::new(of.collect::<StringArray>())
        }
        let columns = vec![
            texts(findings.iter().map(|finding| Some(finding.kind.name()))),
            numbers(&|finding| number(finding.row)),
            texts(findings.iter().map(|finding| file(finding.row))),
            texts(
                findings
                    .iter()
                    .map(|finding| finding.class.map(|class| self.classes.name(class))),
            ),
            numbers(&|finding| number(finding.other)),
            texts(findings.iter().map(|finding| file(finding.other))),
            numbers(&|finding| finding.distance.map(i64::from)),
            texts(findings.iter().map(|finding| finding.detail.as_deref())),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
    }
}
