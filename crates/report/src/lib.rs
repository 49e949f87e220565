//! Charts and pages about studies and labelled images.
//!
//! Plain structs go in; SVG, PNG, a drawing of characters, or one HTML page that asks
//! no network for anything comes out. Every text that goes in is taken for hostile:
//! file names, labels and hyperparameters may hold markup.
//!
//! This crate knows nothing about SQL: `crates/cli/report` gathers what it needs.

mod chart;
mod draw;
mod format;
mod importance;
mod labels;
mod page;
mod parameter;
mod study;
mod thumbnail;

pub use chart::{Chart, Kind, Table, chart};
pub use draw::{png, svg, terminal};
pub use importance::{Importance, Share, importance};
pub use labels::{ErrorCode, FailedImage, LabelledImage, Labelling};
pub use page::{About, Live, live_index, live_page, page};
pub use study::{
    CalibrationBin, ClassScores, Epoch, Evaluation, Objective, Status, Study, Trial,
    Value, WorstImage,
};
pub use thumbnail::Thumbnail;

/// What a page or a chart is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Trials of a search.
    Study(Study),
    /// Labelled images.
    Labels(Labelling),
}

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data do not hold what the chart shows. Another chart may do.
    #[error("{kind} cannot be drawn: {reason}")]
    Missing {
        /// The chart.
        kind: Kind,
        /// What is missing.
        reason: String,
    },
    /// The chart was asked for in no size at all, or the drawing library failed.
    #[error("the chart cannot be drawn: {0}")]
    Drawing(String),
}
