//! The values of tensors on their way into a model and out of it.

use std::borrow::Cow;

use half::{bf16, f16};

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

    /// Whole numbers and flags as those of 64 bits.
    pub(crate) fn widened<T: Copy + Into<i64>>(values: &[T]) -> Self {
        Self::Integers(values.iter().map(|&value| value.into()).collect())
    }

    /// Whole numbers as those with a sign; the largest stands for those beyond.
    pub(crate) fn clamped(values: &[u64]) -> Self {
        let clamp = |value: &u64| i64::try_from(*value).unwrap_or(i64::MAX);
        Self::Integers(values.iter().map(clamp).collect())
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

    /// The values in the element type that the model takes.
    ///
    /// Floating point numbers become whole ones only when nothing is lost: rounding
    /// a token or a pixel would change the question. The error says what was given, to
    /// follow the word "got".
    pub(crate) fn into_values(
        self,
        element: ElementType,
    ) -> Result<Values<'static>, String> {
        Ok(match element {
            ElementType::Float16 => Values::Float16(self.into_halves(f16::from_f32)?),
            ElementType::Bfloat16 => Values::Bfloat16(self.into_halves(bf16::from_f32)?),
            ElementType::Float32 => {
                Values::Float32(self.into_floats().ok_or_else(text)?.into())
            }
            ElementType::Float64 => Values::Float64(self.into_doubles()?),
            ElementType::Int8 => Values::Int8(self.into_narrow(element)?),
            ElementType::Int16 => Values::Int16(self.into_narrow(element)?),
            ElementType::Int32 => Values::Int32(self.into_narrow(element)?),
            ElementType::Int64 => Values::Int64(self.into_integers()?),
            ElementType::Uint8 => Values::Uint8(self.into_narrow(element)?),
            ElementType::Uint16 => Values::Uint16(self.into_narrow(element)?),
            ElementType::Uint32 => Values::Uint32(self.into_narrow(element)?),
            ElementType::Uint64 => Values::Uint64(self.into_narrow(element)?),
            ElementType::Bool => {
                let flags = self.into_integers()?.into_iter().map(|value| value != 0);
                Values::Bool(flags.collect())
            }
            ElementType::String => match self {
                Self::Strings(values) => Values::Strings(values),
                _ => return Err("numbers instead of text".to_string()),
            },
            ElementType::Other => {
                let reason = "a value; inputs of this element type are not supported";
                return Err(reason.to_string());
            }
        })
    }

    /// Rounds to nearest, ties to even, as frameworks do; too large becomes infinite.
    fn into_halves<T>(self, half: fn(f32) -> T) -> Result<Vec<T>, String> {
        let floats = self.into_floats().ok_or_else(text)?;
        Ok(floats.into_iter().map(half).collect())
    }

    fn into_doubles(self) -> Result<Vec<f64>, String> {
        match self {
            Self::Floats(values) => Ok(values.into_iter().map(f64::from).collect()),
            Self::Doubles(values) => Ok(values),
            Self::Integers(values) => Ok(values.into_iter().map(to_double).collect()),
            Self::Strings(_) => Err(text()),
        }
    }

    fn into_integers(self) -> Result<Vec<i64>, String> {
        match self {
            Self::Integers(values) => Ok(values),
            other => other.into_doubles()?.into_iter().map(whole).collect(),
        }
    }

    fn into_narrow<T: TryFrom<i64>>(
        self,
        element: ElementType,
    ) -> Result<Vec<T>, String> {
        let narrow = |value: i64| {
            T::try_from(value).map_err(|_| format!("{value}, which is no {element}"))
        };
        self.into_integers()?.into_iter().map(narrow).collect()
    }
}

/// The values of a tensor on their way into a model, in the element type that it takes.
#[derive(Debug)]
pub(crate) enum Values<'a> {
    Float16(Vec<f16>),
    Bfloat16(Vec<bf16>),
    Float32(Cow<'a, [f32]>),
    Float64(Vec<f64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Bool(Vec<bool>),
    Strings(Vec<String>),
}

/// A tensor on its way into a model.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    /// The name of the model's input.
    pub(crate) name: &'a str,
    /// The dimensions of the tensor, with the mini-batch.
    pub(crate) dims: Vec<usize>,
    /// As many values as the dimensions have places.
    pub(crate) values: Values<'a>,
}

fn text() -> String {
    "text instead of numbers".to_string()
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
fn whole(value: f64) -> Result<i64, String> {
    // Beyond 2^53 a float64 no longer tells neighbouring whole numbers apart.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= LIMIT {
        Ok(value as i64)
    } else {
        Err(format!("{value}, which is no whole number"))
    }
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
