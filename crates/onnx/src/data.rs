//! The values of tensors on their way into a model and out of it.

use std::borrow::Cow;

use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

use crate::ElementType;

/// The values of one tensor, flattened in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Floating point numbers; those of 16 bits become these.
    Floats(Vec<f32>),
    /// Floating point numbers that came as float64.
    Doubles(Vec<f64>),
    /// Whole numbers of any width, and booleans as 0 and 1.
    Integers(Vec<i64>),
    /// Text.
    Strings(Vec<String>),
}

impl Data {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Doubles(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Strings(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as float32, or `None` for text.
    pub fn into_floats(self) -> Option<Vec<f32>> {
        match self {
            Self::Floats(values) => Some(values),
            Self::Doubles(values) => Some(values.into_iter().map(narrow).collect()),
            Self::Integers(values) => Some(values.into_iter().map(to_float).collect()),
            Self::Strings(_) => None,
        }
    }

    /// The same values `copies` times.
    pub(crate) fn repeat(self, copies: usize) -> Self {
        if copies == 1 {
            return self;
        }
        match self {
            Self::Floats(values) => Self::Floats(values.repeat(copies)),
            Self::Doubles(values) => Self::Doubles(values.repeat(copies)),
            Self::Integers(values) => Self::Integers(values.repeat(copies)),
            Self::Strings(values) => {
                let len = values.len() * copies;
                Self::Strings(values.into_iter().cycle().take(len).collect())
            }
        }
    }

    /// The values in parts of `len` each.
    pub(crate) fn chunks(self, len: usize) -> Vec<Self> {
        let len = len.max(1);
        match self {
            Self::Floats(all) => {
                all.chunks(len).map(|v| Self::Floats(v.to_vec())).collect()
            }
            Self::Doubles(all) => {
                all.chunks(len).map(|v| Self::Doubles(v.to_vec())).collect()
            }
            Self::Integers(all) => all
                .chunks(len)
                .map(|v| Self::Integers(v.to_vec()))
                .collect(),
            Self::Strings(all) => {
                all.chunks(len).map(|v| Self::Strings(v.to_vec())).collect()
            }
        }
    }

    /// The first `len` values.
    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Self::Floats(values) => values.truncate(len),
            Self::Doubles(values) => values.truncate(len),
            Self::Integers(values) => values.truncate(len),
            Self::Strings(values) => values.truncate(len),
        }
    }

    /// A tensor of the element type that the model takes.
    ///
    /// Floating point numbers become whole ones only when nothing is lost: rounding
    /// a token or a pixel would change the question.
    pub(crate) fn into_value(
        self,
        element: ElementType,
        dims: &[usize],
    ) -> Result<SessionInputValue<'static>, ConversionError> {
        match element {
            ElementType::Float16 => tensor(dims, self.into_halves(f16::from_f32)?),
            ElementType::Bfloat16 => tensor(dims, self.into_halves(bf16::from_f32)?),
            ElementType::Float32 => tensor(dims, self.into_floats().ok_or_else(text)?),
            ElementType::Float64 => tensor(dims, self.into_doubles()?),
            ElementType::Int8 => self.into_narrow::<i8>(element, dims),
            ElementType::Int16 => self.into_narrow::<i16>(element, dims),
            ElementType::Int32 => self.into_narrow::<i32>(element, dims),
            ElementType::Int64 => tensor(dims, self.into_integers()?),
            ElementType::Uint8 => self.into_narrow::<u8>(element, dims),
            ElementType::Uint16 => self.into_narrow::<u16>(element, dims),
            ElementType::Uint32 => self.into_narrow::<u32>(element, dims),
            ElementType::Uint64 => self.into_narrow::<u64>(element, dims),
            ElementType::Bool => {
                let flags = self.into_integers()?.into_iter().map(|value| value != 0);
                tensor(dims, flags.collect::<Vec<_>>())
            }
            ElementType::String => match self {
                Self::Strings(values) => Tensor::from_string_array((dims, &*values))
                    .map(SessionInputValue::from)
                    .map_err(ConversionError::Runtime),
                _ => Err(ConversionError::Value(
                    "numbers instead of text".to_string(),
                )),
            },
            ElementType::Other => Err(ConversionError::Value(
                "a value; inputs of this element type are not supported".to_string(),
            )),
        }
    }

    /// Rounds to nearest, ties to even, as frameworks do; too large becomes infinite.
    fn into_halves<T>(self, half: fn(f32) -> T) -> Result<Vec<T>, ConversionError> {
        let floats = self.into_floats().ok_or_else(text)?;
        Ok(floats.into_iter().map(half).collect())
    }

    fn into_doubles(self) -> Result<Vec<f64>, ConversionError> {
        match self {
            Self::Floats(values) => Ok(values.into_iter().map(f64::from).collect()),
            Self::Doubles(values) => Ok(values),
            Self::Integers(values) => Ok(values.into_iter().map(to_double).collect()),
            Self::Strings(_) => Err(text()),
        }
    }

    fn into_integers(self) -> Result<Vec<i64>, ConversionError> {
        match self {
            Self::Integers(values) => Ok(values),
            other => other.into_doubles()?.into_iter().map(whole).collect(),
        }
    }

    fn into_narrow<T>(
        self,
        element: ElementType,
        dims: &[usize],
    ) -> Result<SessionInputValue<'static>, ConversionError>
    where
        T: TryFrom<i64> + PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
    {
        let narrow = |value: i64| {
            T::try_from(value).map_err(|_| {
                ConversionError::Value(format!("{value}, which is no {element}"))
            })
        };
        let values: Result<Vec<T>, _> =
            self.into_integers()?.into_iter().map(narrow).collect();
        tensor(dims, values?)
    }
}

/// Why values cannot become a tensor of the model's element type.
#[derive(Debug)]
pub(crate) enum ConversionError {
    /// What was given, to follow the word "got".
    Value(String),
    /// ONNX Runtime refused to make the tensor.
    Runtime(ort::Error),
}

fn text() -> ConversionError {
    ConversionError::Value("text instead of numbers".to_string())
}

fn tensor<T>(
    dims: &[usize],
    values: Vec<T>,
) -> Result<SessionInputValue<'static>, ConversionError>
where
    T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
{
    Tensor::from_array((dims.to_vec(), values))
        .map(SessionInputValue::from)
        .map_err(ConversionError::Runtime)
}

/// Rounds as the model's own element type does.
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Rounds as the model's own element type does.
fn to_float(value: i64) -> f32 {
    value as f32
}

/// Rounds as the model's own element type does.
fn to_double(value: i64) -> f64 {
    value as f64
}

/// The value as a whole number, if it is one.
fn whole(value: f64) -> Result<i64, ConversionError> {
    // Beyond 2^53 a float64 no longer tells neighbouring whole numbers apart.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= LIMIT {
        Ok(value as i64)
    } else {
        Err(ConversionError::Value(format!(
            "{value}, which is no whole number"
        )))
    }
}

/// Copies an output of a model; the error says what it is instead of a tensor.
pub(crate) fn from_value(
    value: &DynValue,
    element: ElementType,
) -> Result<(Vec<usize>, Data), Cow<'static, str>> {
    match element {
        ElementType::Float16 => extract(value, |values: &[f16]| {
            Data::Floats(values.iter().map(|half| half.to_f32()).collect())
        }),
        ElementType::Bfloat16 => extract(value, |values: &[bf16]| {
            Data::Floats(values.iter().map(|half| half.to_f32()).collect())
        }),
        ElementType::Float32 => extract(value, |values| Data::Floats(values.to_vec())),
        ElementType::Float64 => extract(value, |values| Data::Doubles(values.to_vec())),
        ElementType::Int64 => extract(value, |values| Data::Integers(values.to_vec())),
        ElementType::Int8 => extract(value, widen::<i8>),
        ElementType::Int16 => extract(value, widen::<i16>),
        ElementType::Int32 => extract(value, widen::<i32>),
        ElementType::Uint8 => extract(value, widen::<u8>),
        ElementType::Uint16 => extract(value, widen::<u16>),
        ElementType::Uint32 => extract(value, widen::<u32>),
        ElementType::Bool => extract(value, widen::<bool>),
        ElementType::Uint64 => extract(value, |values: &[u64]| {
            let clamp = |value: &u64| i64::try_from(*value).unwrap_or(i64::MAX);
            Data::Integers(values.iter().map(clamp).collect())
        }),
        ElementType::String => {
            let (shape, values) = value
                .try_extract_strings()
                .map_err(|error| error.to_string())?;
            Ok((dims(shape), Data::Strings(values)))
        }
        ElementType::Other => Err("its type is not supported".into()),
    }
}

fn extract<T: PrimitiveTensorElementType>(
    value: &DynValue,
    copy: impl Fn(&[T]) -> Data,
) -> Result<(Vec<usize>, Data), Cow<'static, str>> {
    let (shape, values) = value
        .try_extract_tensor::<T>()
        .map_err(|error| error.to_string())?;
    Ok((dims(shape), copy(values)))
}

fn dims(shape: &[i64]) -> Vec<usize> {
    shape
        .iter()
        .map(|&dim| usize::try_from(dim).unwrap_or(0))
        .collect()
}

fn widen<T: Copy + Into<i64>>(values: &[T]) -> Data {
    Data::Integers(values.iter().map(|&value| value.into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_whole_only_without_loss() {
        let check = |value: f64, expected: Option<i64>| {
            assert_eq!(whole(value).ok(), expected, "{value}");
        };
        check(3.0, Some(3));
        check(-0.0, Some(0));
        check(3.5, None);
        check(f64::NAN, None);
        check(f64::INFINITY, None);
        check(1e300, None);
    }

    #[test]
    fn every_kind_of_number_becomes_float32() {
        let check = |data: Data, expected: &[f32]| {
            assert_eq!(data.into_floats().as_deref(), Some(expected));
        };
        check(Data::Floats(vec![0.5]), &[0.5]);
        check(Data::Doubles(vec![0.25, 1.0]), &[0.25, 1.0]);
        check(Data::Integers(vec![7]), &[7.0]);
        assert_eq!(Data::Strings(vec!["a".to_string()]).into_floats(), None);
    }
}
