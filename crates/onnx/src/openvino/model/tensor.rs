//! Values in tensors of OpenVINO.

use half::{bf16, f16};
use openvino::{InferenceError, Shape, Tensor};

use crate::ElementType;
use crate::data::{Data, Values};

/// The tensor of an input, which is written again for each row.
pub(super) struct Place {
    tensor: Tensor,
    dims: Vec<usize>,
}

impl Place {
    pub(super) fn new(
        element: openvino::ElementType,
        dims: Vec<usize>,
    ) -> Result<Self, InferenceError> {
        // No tensor in memory has more places than this type has numbers.
        let shape: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let tensor = Tensor::new(element, &Shape::new(&shape)?)?;
        Ok(Self::of(tensor, dims))
    }

    /// A tensor that is there already.
    pub(super) fn of(tensor: Tensor, dims: Vec<usize>) -> Self {
        Self { tensor, dims }
    }

    pub(super) fn has_shape(&self, dims: &[usize]) -> bool {
        self.dims == dims
    }

    pub(super) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Copies values of the tensor's own element type, as many as it has places.
    pub(super) fn write(&mut self, values: &Values<'_>) -> Result<(), InferenceError> {
        match values {
            Values::Float16(numbers) => self.copy_from(numbers),
            Values::Bfloat16(numbers) => self.copy_from(numbers),
            Values::Float32(numbers) => self.copy_from(numbers),
            Values::Float64(numbers) => self.copy_from(numbers),
            Values::Int8(numbers) => self.copy_from(numbers),
            Values::Int16(numbers) => self.copy_from(numbers),
            Values::Int32(numbers) => self.copy_from(numbers),
            Values::Int64(numbers) => self.copy_from(numbers),
            Values::Uint8(numbers) => self.copy_from(numbers),
            Values::Uint16(numbers) => self.copy_from(numbers),
            Values::Uint32(numbers) => self.copy_from(numbers),
            Values::Uint64(numbers) => self.copy_from(numbers),
            Values::Bool(flags) => {
                let bytes: Vec<u8> = flags.iter().map(|&flag| u8::from(flag)).collect();
                self.copy_from(&bytes)
            }
            // Models of texts are not opened.
            Values::Strings(_) => Ok(()),
        }
    }

    fn copy_from<T: Copy>(&mut self, values: &[T]) -> Result<(), InferenceError> {
        // The binding makes a slice of no memory where there are no places.
        if !values.is_empty() {
            let places = self.tensor.get_data_mut::<T>()?;
            let len = places.len().min(values.len());
            places[..len].copy_from_slice(&values[..len]);
        }
        Ok(())
    }
}

/// Copies a tensor with its shape; nothing if its type is none of ours.
pub(super) fn copy(
    tensor: &Tensor,
) -> Result<Option<(Vec<usize>, Data)>, InferenceError> {
    let dims: Vec<usize> = match tensor.get_shape() {
        Ok(shape) => {
            let dims = shape.get_dimensions().iter();
            dims.map(|&dim| usize::try_from(dim).unwrap_or(0)).collect()
        }
        // The interface for C has no shape without dimensions.
        Err(_) if tensor.get_size()? == 1 => vec![],
        Err(error) => return Err(error),
    };
    let is_empty = dims.contains(&0);
    let data = match element(tensor.get_element_type()?) {
        ElementType::Float16 => Data::Floats(
            slice::<f16>(tensor, is_empty)?
                .iter()
                .map(|half| half.to_f32())
                .collect(),
        ),
        ElementType::Bfloat16 => Data::Floats(
            slice::<bf16>(tensor, is_empty)?
                .iter()
                .map(|half| half.to_f32())
                .collect(),
        ),
        ElementType::Float32 => Data::Floats(slice(tensor, is_empty)?.to_vec()),
        ElementType::Float64 => Data::Doubles(slice(tensor, is_empty)?.to_vec()),
        ElementType::Int8 => Data::widened::<i8>(slice(tensor, is_empty)?),
        ElementType::Int16 => Data::widened::<i16>(slice(tensor, is_empty)?),
        ElementType::Int32 => Data::widened::<i32>(slice(tensor, is_empty)?),
        ElementType::Int64 => Data::Integers(slice(tensor, is_empty)?.to_vec()),
        ElementType::Uint8 => Data::widened::<u8>(slice(tensor, is_empty)?),
        ElementType::Uint16 => Data::widened::<u16>(slice(tensor, is_empty)?),
        ElementType::Uint32 => Data::widened::<u32>(slice(tensor, is_empty)?),
        ElementType::Uint64 => Data::clamped(slice(tensor, is_empty)?),
        ElementType::Bool => {
            let flags = slice::<u8>(tensor, is_empty)?.iter();
            Data::Integers(flags.map(|&flag| i64::from(flag != 0)).collect())
        }
        ElementType::String | ElementType::Other => return Ok(None),
    };
    Ok(Some((dims, data)))
}

fn slice<T>(tensor: &Tensor, is_empty: bool) -> Result<&[T], InferenceError> {
    match is_empty {
        true => Ok(&[]),
        false => tensor.get_data::<T>(),
    }
}

/// Fails on values that OpenVINO would change: whatever the type of an input, it computes
/// whole numbers in 32 bits with a sign and the others in float32 at most.
pub(super) fn check_range(input: &str, values: &Values<'_>) -> Result<(), String> {
    let is_wide = |number: &f64| number.is_finite() && (*number as f32).is_infinite();
    let wide = match values {
        Values::Int64(numbers) => first(numbers, |one| i32::try_from(*one).is_err()),
        Values::Uint32(numbers) => first(numbers, |one| i32::try_from(*one).is_err()),
        Values::Uint64(numbers) => first(numbers, |one| i32::try_from(*one).is_err()),
        Values::Float64(numbers) => first(numbers, is_wide),
        _ => None,
    };
    match wide {
        None => Ok(()),
        Some(number) => Err(format!(
            "input {input} has {number}, and OpenVINO computes in 32 bits; run it with \
             SET atoll.inference = 'onnxruntime'"
        )),
    }
}

fn first<T: ToString>(numbers: &[T], is_wide: impl Fn(&T) -> bool) -> Option<String> {
    let mut numbers = numbers.iter();
    numbers.find(|number| is_wide(number)).map(T::to_string)
}

/// Our name for an element type.
pub(super) fn element(element: openvino::ElementType) -> ElementType {
    use openvino::ElementType as Theirs;
    match element {
        Theirs::F16 => ElementType::Float16,
        Theirs::Bf16 => ElementType::Bfloat16,
        Theirs::F32 => ElementType::Float32,
        Theirs::F64 => ElementType::Float64,
        Theirs::I8 => ElementType::Int8,
        Theirs::I16 => ElementType::Int16,
        Theirs::I32 => ElementType::Int32,
        Theirs::I64 => ElementType::Int64,
        Theirs::U8 => ElementType::Uint8,
        Theirs::U16 => ElementType::Uint16,
        Theirs::U32 => ElementType::Uint32,
        Theirs::U64 => ElementType::Uint64,
        Theirs::Boolean => ElementType::Bool,
        Theirs::String => ElementType::String,
        _ => ElementType::Other,
    }
}

/// OpenVINO's name for the element type of values.
pub(super) fn type_of(values: &Values<'_>) -> openvino::ElementType {
    use openvino::ElementType as Theirs;
    match values {
        Values::Float16(_) => Theirs::F16,
        Values::Bfloat16(_) => Theirs::Bf16,
        Values::Float32(_) => Theirs::F32,
        Values::Float64(_) => Theirs::F64,
        Values::Int8(_) => Theirs::I8,
        Values::Int16(_) => Theirs::I16,
        Values::Int32(_) => Theirs::I32,
        Values::Int64(_) => Theirs::I64,
        Values::Uint8(_) => Theirs::U8,
        Values::Uint16(_) => Theirs::U16,
        Values::Uint32(_) => Theirs::U32,
        Values::Uint64(_) => Theirs::U64,
        Values::Bool(_) => Theirs::Boolean,
        Values::Strings(_) => Theirs::String,
    }
}
