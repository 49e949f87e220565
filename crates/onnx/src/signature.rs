//! What a model takes and gives.

use std::fmt;

use ort::value::{Outlet, TensorElementType, ValueType};

/// The element type of a tensor, by its name in ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ElementType {
    Float16,
    Bfloat16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Bool,
    String,
    /// Everything this crate cannot pass on: sequences, maps, complex numbers.
    Other,
}

impl ElementType {
    /// Whether it is a floating point number.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float16 | Self::Bfloat16 | Self::Float32 | Self::Float64
        )
    }
}

impl From<TensorElementType> for ElementType {
    fn from(element: TensorElementType) -> Self {
        match element {
            TensorElementType::Float16 => Self::Float16,
            TensorElementType::Bfloat16 => Self::Bfloat16,
            TensorElementType::Float32 => Self::Float32,
            TensorElementType::Float64 => Self::Float64,
            TensorElementType::Int8 => Self::Int8,
            TensorElementType::Int16 => Self::Int16,
            TensorElementType::Int32 => Self::Int32,
            TensorElementType::Int64 => Self::Int64,
            TensorElementType::Uint8 => Self::Uint8,
            TensorElementType::Uint16 => Self::Uint16,
            TensorElementType::Uint32 => Self::Uint32,
            TensorElementType::Uint64 => Self::Uint64,
            TensorElementType::Bool => Self::Bool,
            TensorElementType::String => Self::String,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Other => "unsupported",
        })
    }
}

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions; `None` where the caller chooses.
    pub shape: Vec<Option<usize>>,
}

/// The inputs and outputs of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What the model takes, in its own order.
    pub inputs: Vec<Port>,
    /// What it gives, in its own order.
    pub outputs: Vec<Port>,
}

/// The tensor that a row becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowShape {
    pub(crate) dims: Vec<usize>,
    /// How often the row is repeated to fill a mini-batch of fixed size.
    pub(crate) copies: usize,
}

impl Port {
    pub(crate) fn new(outlet: &Outlet) -> Self {
        let (element, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => (
                ElementType::from(*ty),
                shape.iter().map(|&dim| usize::try_from(dim).ok()).collect(),
            ),
            _ => (ElementType::Other, Vec::new()),
        };
        Self {
            name: outlet.name().to_string(),
            element,
            shape,
        }
    }

    /// How many numbers one row holds, or `None` when rows may differ.
    ///
    /// The first of several dimensions is the mini-batch when it is dynamic.
    pub fn row_len(&self) -> Option<usize> {
        self.row_dims().iter().copied().product()
    }

    fn row_dims(&self) -> Vec<Option<usize>> {
        let mut dims = self.shape.clone();
        if dims.len() > 1
            && let Some(batch @ None) = dims.first_mut()
        {
            *batch = Some(1);
        }
        dims
    }

    /// The tensor for a row of `len` numbers, or `None` when it does not fit.
    pub(crate) fn row_shape(&self, len: usize) -> Option<RowShape> {
        let dims = self.row_dims();
        let known: usize = dims.iter().flatten().product();
        match dims.iter().filter(|dim| dim.is_none()).count() {
            0 => {
                let dims: Vec<usize> = dims.into_iter().flatten().collect();
                let batch = dims.first().copied().unwrap_or(1);
                if len == known {
                    Some(RowShape { dims, copies: 1 })
                } else if dims.len() > 1
                    && batch > 1
                    && len.checked_mul(batch) == Some(known)
                {
                    Some(RowShape {
                        dims,
                        copies: batch,
                    })
                } else {
                    None
                }
            }
            1 if known > 0 && len.is_multiple_of(known) => Some(RowShape {
                dims: dims
                    .into_iter()
                    .map(|dim| dim.unwrap_or(len / known))
                    .collect(),
                copies: 1,
            }),
            _ => None,
        }
    }

    /// Whether a row of `len` numbers can be an input.
    pub fn accepts(&self, len: usize) -> bool {
        self.row_shape(len).is_some()
    }

    /// What a row must hold, for an error message.
    pub fn expectation(&self) -> String {
        match self.row_len() {
            Some(len) => format!("{len} numbers per row ({self})"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.element)?;
        for (idx, dim) in self.shape.iter().enumerate() {
            let comma = if idx == 0 { "" } else { ", " };
            match dim {
                Some(dim) => write!(f, "{comma}{dim}")?,
                None => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: &[Option<usize>], len: usize, expected: Option<(&[usize], usize)>) {
        let port = Port {
            name: "x".to_string(),
            element: ElementType::Float32,
            shape: shape.to_vec(),
        };
        let expected = expected.map(|(dims, copies)| RowShape {
            dims: dims.to_vec(),
            copies,
        });
        assert_eq!(port.row_shape(len), expected, "{port} with {len}");
    }

    #[test]
    fn a_dynamic_mini_batch_holds_one_row() {
        check(&[None, Some(3)], 3, Some((&[1, 3], 1)));
        check(&[None, Some(3)], 6, None);
        check(&[None, Some(3)], 2, None);
    }

    #[test]
    fn one_dynamic_dimension_takes_what_the_row_has() {
        check(&[None], 5, Some((&[5], 1)));
        check(&[None, None], 5, Some((&[1, 5], 1)));
        check(&[None, None, Some(2)], 6, Some((&[1, 3, 2], 1)));
        check(&[None, None, Some(2)], 5, None);
        check(&[None, None, None], 6, None);
    }

    #[test]
    fn a_fixed_mini_batch_repeats_the_row() {
        check(&[Some(4), Some(3)], 3, Some((&[4, 3], 4)));
        check(&[Some(4), Some(3)], 12, Some((&[4, 3], 1)));
        check(&[Some(4), Some(3)], 4, None);
        check(&[Some(4)], 1, None);
    }

    #[test]
    fn a_scalar_takes_one_number() {
        check(&[], 1, Some((&[], 1)));
        check(&[], 2, None);
    }

    #[test]
    fn the_expectation_names_count_type_and_shape() {
        let port = Port {
            name: "input".to_string(),
            element: ElementType::Float32,
            shape: vec![None, Some(3), Some(2)],
        };
        assert_eq!(port.expectation(), "6 numbers per row (float32 [?, 3, 2])");
    }
}
