//! Why vectors cannot be compared.

/// A vector that cannot be compared with the others. The data or the query must change.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// It has another length than those before.
    #[error("has {actual} numbers, the vectors before have {expected}")]
    Length {
        /// How many numbers the first vector has.
        expected: usize,
        /// How many this one has.
        actual: usize,
    },
    /// It has no numbers.
    #[error("has no numbers")]
    Empty,
    /// A number is NaN or infinite.
    #[error("has {value} at place {place}, and no distance to anything")]
    NotFinite {
        /// Which number, from 1.
        place: usize,
        /// The number.
        value: f32,
    },
    /// There are more vectors than row numbers.
    #[error("is one of more than {} vectors; search in parts", u32::MAX)]
    TooMany,
}
