//! What a statement says of the columns of a dataset.

/// How to read a dataset.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnOptions {
    /// The image column, when the user named one.
    pub(crate) image: Option<String>,
    /// The columns of numbers, when the user named some.
    pub(crate) features: Option<Vec<String>>,
    /// The label column.
    pub(crate) label: String,
    /// The split column, when the user named one.
    pub(crate) split: Option<String>,
    /// The column whose equal values stay on one side of a split.
    pub(crate) group: Option<String>,
    /// The column that says how much each row counts while training.
    pub(crate) weight: Option<String>,
    /// Rows of pixels in an image given as a list of numbers.
    pub(crate) height: Option<usize>,
    /// Columns of pixels in an image given as a list of numbers.
    pub(crate) width: Option<usize>,
    /// Values per pixel in an image given as a list of numbers.
    pub(crate) channels: Option<usize>,
    /// What a number is multiplied by to become a pixel value from 0 to 255.
    pub(crate) scale: Option<f64>,
}

impl Default for ColumnOptions {
    fn default() -> Self {
        Self {
            image: None,
            features: None,
            label: "label".to_string(),
            split: None,
            group: None,
            weight: None,
            height: None,
            width: None,
            channels: None,
            scale: None,
        }
    }
}

impl ColumnOptions {
    /// The same without the columns that only splits and training know.
    pub(super) fn without_extras(&self) -> Self {
        Self {
            group: None,
            weight: None,
            ..self.clone()
        }
    }
}
