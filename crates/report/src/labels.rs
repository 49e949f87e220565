//! What is known of labelled images.

use crate::thumbnail::Thumbnail;

/// A run, or several, of a job that labels images.
#[derive(Debug, Clone, Default)]
pub struct Labelling {
    /// How the user named it: a file, a folder or a table.
    pub name: String,
    /// How many images it has.
    pub images: usize,
    /// The score of the likeliest label of each labelled image.
    pub scores: Vec<f64>,
    /// How often each label is the likeliest, the most frequent first.
    pub labels: Vec<(String, usize)>,
    /// The codes of images that failed, the most frequent first.
    pub errors: Vec<ErrorCode>,
    /// When images were labelled, in seconds since 1970, UTC, with how many at that
    /// moment; in the order of time.
    pub times: Vec<(f64, usize)>,
    /// The networks that labelled them: digest, preprocessing, engine.
    pub models: Vec<String>,
    /// Some of the images the network is surest of.
    pub surest: Vec<LabelledImage>,
    /// Some of the images the network is least sure of.
    pub least_sure: Vec<LabelledImage>,
}

/// A kind of failure.
#[derive(Debug, Clone, Default)]
pub struct ErrorCode {
    /// The code.
    pub code: String,
    /// How many images have it.
    pub count: usize,
    /// Some of them.
    pub examples: Vec<FailedImage>,
}

/// An image with its labels.
#[derive(Debug, Clone, Default)]
pub struct LabelledImage {
    /// Its path or URL.
    pub filename: String,
    /// The likeliest labels with their scores, the likeliest first.
    pub labels: Vec<(String, f64)>,
    /// A small version.
    pub thumbnail: Option<Thumbnail>,
    /// Why there is none, or that the file is no longer what was labelled.
    pub remark: Option<String>,
}

/// An image without labels.
#[derive(Debug, Clone, Default)]
pub struct FailedImage {
    /// Its path or URL.
    pub filename: String,
    /// What went wrong.
    pub error: String,
    /// A small version, should there be one.
    pub thumbnail: Option<Thumbnail>,
}
