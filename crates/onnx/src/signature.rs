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

/// The most numbers in a mini-batch of fixed size that is filled with copies of a row. A
/// file may ask for more than there is memory.
const MOST_NUMBERS: usize = 1 << 28;

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions; `None` where the caller chooses, or `None` for all of them where the
    /// caller chooses their number, too.
    pub shape: Option<Vec<Option<usize>>>,
    /// What it is instead of a tensor, such as a sequence of maps.
    pub instead: Option<String>,
}

/// What an input that is a column of a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableInputKind {
    /// A number or truth value; NaN where it is missing.
    Number,
    /// A list of numbers.
    List,
    /// Days since 1970-01-01.
    Date,
    /// The same with fractions.
    Timestamp,
    /// Text; empty where it is missing.
    Text,
}

/// An input of a model that is a column of a table, as the metadata describes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct TableInput {
    /// The name of the column and of the input.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: TableInputKind,
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
    /// `is_shapeless` tells a port without a shape from a scalar, which look the same to
    /// ONNX Runtime.
    pub(crate) fn new(outlet: &Outlet, is_shapeless: bool) -> Self {
        let (element, shape, instead) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                let dims = shape.iter().map(|&dim| usize::try_from(dim).ok());
                let shape = (!shape.is_empty() || !is_shapeless).then(|| dims.collect());
                (ElementType::from(*ty), shape, None)
            }
            other => (ElementType::Other, None, Some(describe(other))),
        };
        Self {
            name: outlet.name().to_string(),
            element,
            shape,
            instead,
        }
    }

    /// Whether its values can be passed on.
    pub fn is_readable(&self) -> bool {
        self.element != ElementType::Other
    }

    /// How many numbers one row holds, or `None` when rows may differ.
    ///
    /// The first of several dimensions is the mini-batch when it is dynamic.
    pub fn row_len(&self) -> Option<usize> {
        let dims: Option<Vec<usize>> = self.row_dims()?.into_iter().collect();
        dims.map(product)
    }

    fn row_dims(&self) -> Option<Vec<Option<usize>>> {
        let mut dims = self.shape.clone()?;
        if dims.len() > 1
            && let Some(batch @ None) = dims.first_mut()
        {
            *batch = Some(1);
        }
        Some(dims)
    }

    /// Whether the numbers of one row are a list, as classes are: no two dimensions beside
    /// the mini-batch have more than one place.
    pub fn is_list(&self) -> bool {
        let dims = self.row_dims().unwrap_or_default();
        let skipped = usize::from(dims.len() > 1);
        let large = dims.iter().skip(skipped).flatten();
        large.filter(|dim| **dim > 1).count() <= 1
    }

    /// The tensor for an image of this shape, mini-batch included, or `None` when it does
    /// not fit.
    pub(crate) fn image_shape(&self, image: [usize; 4]) -> Option<RowShape> {
        let len = product(image);
        let Some(dims) = &self.shape else {
            return Some(RowShape {
                dims: image.to_vec(),
                copies: 1,
            });
        };
        // With and without the mini-batch; a network of dense layers takes a flat list.
        let image = match dims.len() {
            4 => &image[..],
            3 => &image[1..],
            _ => return self.row_shape(len),
        };
        let is_batch = |place: usize| place == 0 && dims.len() == 4;
        let fits = |batch| batch > 0 && len.saturating_mul(batch) <= MOST_NUMBERS;
        let mut copies = 1;
        let mut tensor = Vec::with_capacity(dims.len());
        for (place, (wanted, has)) in dims.iter().zip(image).enumerate() {
            match wanted {
                Some(wanted) if is_batch(place) && fits(*wanted) => {
                    copies = *wanted;
                    tensor.push(*wanted);
                }
                Some(wanted) if wanted != has => return self.same_numbers(image),
                _ => tensor.push(*has),
            }
        }
        Some(RowShape {
            dims: tensor,
            copies,
        })
    }

    /// The tensor for an image whose shape differs in dimensions of one place only, such as
    /// one channel first or last.
    fn same_numbers(&self, image: &[usize]) -> Option<RowShape> {
        let large = |dims: &[usize]| -> Vec<usize> {
            dims.iter().copied().filter(|dim| *dim != 1).collect()
        };
        let shape = self.row_shape(product(image.iter().copied()))?;
        let row = shape.dims.get(usize::from(shape.copies > 1)..)?;
        (large(row) == large(image)).then_some(shape)
    }

    /// The tensor for a row of `len` numbers, or `None` when it does not fit.
    pub(crate) fn row_shape(&self, len: usize) -> Option<RowShape> {
        let Some(dims) = self.row_dims() else {
            // A mini-batch of one row, which is what most models take.
            return Some(RowShape {
                dims: vec![1, len],
                copies: 1,
            });
        };
        let known = product(dims.iter().copied().flatten());
        match dims.iter().filter(|dim| dim.is_none()).count() {
            0 => {
                let dims: Vec<usize> = dims.into_iter().flatten().collect();
                let batch = dims.first().copied().unwrap_or(1);
                if len == known {
                    Some(RowShape { dims, copies: 1 })
                } else if dims.len() > 1
                    && batch > 1
                    && known <= MOST_NUMBERS
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
        let values = match (self.element, self.row_len()) {
            (ElementType::String, Some(1)) => "text",
            (ElementType::String, _) => "texts",
            (_, Some(1)) => "number",
            _ => "numbers",
        };
        match self.row_len() {
            Some(len) => format!("{len} {values} per row ({self})"),
            None => self.to_string(),
        }
    }
}

/// How many numbers there are. A file may say anything, so the largest number stands for
/// all that are too large.
fn product(dims: impl IntoIterator<Item = usize>) -> usize {
    dims.into_iter().fold(1, usize::saturating_mul)
}

/// A type that is no tensor, in words.
fn describe(kind: &ValueType) -> String {
    match kind {
        ValueType::Tensor { ty, .. } => ElementType::from(*ty).to_string(),
        ValueType::Sequence(of) => format!("sequence of {}", describe(of)),
        ValueType::Map { key, value } => format!(
            "map of {} to {}",
            ElementType::from(*key),
            ElementType::from(*value)
        ),
        ValueType::Optional(of) => format!("optional {}", describe(of)),
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instead) = &self.instead {
            return f.write_str(instead);
        }
        let Some(shape) = &self.shape else {
            return write!(f, "{} of any shape", self.element);
        };
        write!(f, "{} [", self.element)?;
        for (idx, dim) in shape.iter().enumerate() {
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

    fn port(shape: Option<&[Option<usize>]>) -> Port {
        Port {
            name: "x".to_string(),
            element: ElementType::Float32,
            shape: shape.map(<[_]>::to_vec),
            instead: None,
        }
    }

    fn row_shape((dims, copies): (&[usize], usize)) -> RowShape {
        RowShape {
            dims: dims.to_vec(),
            copies,
        }
    }

    #[track_caller]
    fn check(shape: &[Option<usize>], len: usize, expected: Option<(&[usize], usize)>) {
        let port = port(Some(shape));
        assert_eq!(
            port.row_shape(len),
            expected.map(row_shape),
            "{port} with {len}"
        );
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
        check(&[Some(1 << 40), Some(3)], 3, None);
    }

    #[test]
    fn a_scalar_takes_one_number() {
        check(&[], 1, Some((&[], 1)));
        check(&[], 2, None);
    }

    #[test]
    fn dimensions_beyond_all_memory_take_no_row() {
        let large = [Some(1 << 40), Some(1 << 40), None];
        check(&large, 1 << 20, None);
        assert_eq!(port(Some(&large[..2])).row_len(), Some(usize::MAX));
    }

    #[test]
    fn without_a_shape_any_row_fits() {
        let port = port(None);
        assert_eq!(port.row_shape(3), Some(row_shape((&[1, 3], 1))));
        let image = port.image_shape([1, 3, 2, 4]);
        assert_eq!(image, Some(row_shape((&[1, 3, 2, 4], 1))));
        assert_eq!(port.expectation(), "float32 of any shape");
        assert_eq!(port.row_len(), None);
    }

    #[track_caller]
    fn check_image(
        shape: &[Option<usize>],
        image: [usize; 4],
        expected: Option<(&[usize], usize)>,
    ) {
        let port = port(Some(shape));
        let shape = port.image_shape(image);
        assert_eq!(shape, expected.map(row_shape), "{port} with {image:?}");
    }

    #[test]
    fn an_image_brings_its_height_and_width() {
        let dynamic = [None, Some(3), None, None];
        check_image(&dynamic, [1, 3, 2, 4], Some((&[1, 3, 2, 4], 1)));
        check_image(&dynamic, [1, 1, 2, 4], None);
        check_image(&[None; 4], [1, 3, 2, 4], Some((&[1, 3, 2, 4], 1)));
        check_image(&[None, None, Some(3)], [1, 2, 4, 3], Some((&[2, 4, 3], 1)));
        check_image(&[None, Some(24)], [1, 3, 2, 4], Some((&[1, 24], 1)));
        let four = [Some(4), Some(3), None, None];
        check_image(&four, [1, 3, 2, 4], Some((&[4, 3, 2, 4], 4)));
    }

    #[test]
    fn an_image_in_another_order_does_not_fit() {
        check_image(&[None, Some(2), Some(4), Some(3)], [1, 3, 2, 4], None);
        check_image(&[None, Some(3), Some(4), Some(2)], [1, 3, 2, 4], None);
        // One channel is in the same place first and last.
        let last = [None, Some(2), Some(4), Some(1)];
        check_image(&last, [1, 1, 2, 4], Some((&[1, 2, 4, 1], 1)));
        let four = [Some(4), Some(2), Some(4), Some(1)];
        check_image(&four, [1, 1, 2, 4], Some((&[4, 2, 4, 1], 4)));
    }

    #[test]
    fn classes_are_a_list() {
        let check = |shape: &[Option<usize>], expected: bool| {
            assert_eq!(port(Some(shape)).is_list(), expected, "{shape:?}");
        };
        check(&[None, Some(1000)], true);
        check(&[Some(4), Some(1000), Some(1), Some(1)], true);
        check(&[Some(1000)], true);
        check(&[], true);
        check(&[None, None, None], true);
        check(&[None, Some(84), Some(8400)], false);
    }

    #[test]
    fn the_expectation_names_count_type_and_shape() {
        let port = port(Some(&[None, Some(3), Some(2)]));
        assert_eq!(port.expectation(), "6 numbers per row (float32 [?, 3, 2])");
    }
}
