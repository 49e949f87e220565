//! `octet_length`, `bit_length`, `character_length` and `bit_count` of BLOB values.
//!
//! The first three are DataFusion's for text, where they stay what they are.

use std::sync::{Arc, LazyLock};

use atoll_udf_common::args::bytes_at;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, UInt64Type};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, plan_err};
use datafusion::functions::string::{bit_length, octet_length};
use datafusion::functions::unicode::character_length;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::SECTION;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Measure {
    OctetLength,
    BitLength,
    Length,
    BitCount,
}

use Measure::{BitCount, BitLength, Length, OctetLength};

/// One of the functions of this file.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct MeasureFunction {
    measure: Measure,
    aliases: Vec<String>,
    signature: Signature,
}

/// The functions of this file.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    let function = |measure| {
        ScalarUDF::new_from_impl(MeasureFunction {
            measure,
            aliases: measure.aliases(),
            signature: Signature::user_defined(Volatility::Immutable),
        })
    };
    [BitCount, BitLength, Length, OctetLength]
        .map(function)
        .into()
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            OctetLength => "octet_length",
            BitLength => "bit_length",
            Length => "character_length",
            BitCount => "bit_count",
        }
    }

    /// Those of DataFusion's function, which would otherwise keep them.
    fn aliases(self) -> Vec<String> {
        match self {
            Length => vec!["char_length".to_string(), "length".to_string()],
            _ => vec![],
        }
    }

    /// DataFusion's function of this name, for text.
    fn of_text(self) -> Option<Arc<ScalarUDF>> {
        match self {
            OctetLength => Some(octet_length()),
            BitLength => Some(bit_length()),
            Length => Some(character_length()),
            BitCount => None,
        }
    }

    fn of_bytes(self, bytes: &[u8]) -> i64 {
        // No value of Arrow's holds as many bits.
        let length = bytes.len() as i64;
        match self {
            OctetLength | Length => length,
            BitLength => length * 8,
            BitCount => bytes.iter().map(|byte| i64::from(byte.count_ones())).sum(),
        }
    }

    fn documentation(self) -> &'static Documentation {
        match self {
            OctetLength => &OCTET_LENGTH,
            BitLength => &BIT_LENGTH,
            Length => &LENGTH,
            BitCount => &BIT_COUNT,
        }
    }
}

fn document(name: &str, what: &str, argument: &str, example: &str) -> Documentation {
    Documentation::builder(SECTION, what, format!("{name}(value)"))
        .with_argument("value", argument)
        .with_sql_example(example)
        .build()
}

static OCTET_LENGTH: LazyLock<Documentation> = LazyLock::new(|| {
    document(
        "octet_length",
        "Returns how many bytes a text or BLOB has.",
        "Text or BLOB.",
        "SELECT filename, octet_length(content) AS bytes\n\
         FROM read_blob('sql/data/photos/*.jpg');",
    )
});

static BIT_LENGTH: LazyLock<Documentation> = LazyLock::new(|| {
    document(
        "bit_length",
        "Returns how many bits a text or BLOB has, eight for each byte.",
        "Text or BLOB.",
        "SELECT bit_length(sha256('atoll'));",
    )
});

static LENGTH: LazyLock<Documentation> = LazyLock::new(|| {
    document(
        "character_length",
        "Returns how many characters a text has, or how many bytes a BLOB. `length` is the \
         same.",
        "Text or BLOB.",
        "SELECT length('atoll'), length(sha256('atoll'));",
    )
});

static BIT_COUNT: LazyLock<Documentation> = LazyLock::new(|| {
    document(
        "bit_count",
        "Returns how many bits of an integer or BLOB are 1. A negative integer is counted \
         in two's complement of its type's width.",
        "Integer or BLOB.",
        "SELECT bit_count(255), bit_count(sha256('atoll'));",
    )
});

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

impl ScalarUDFImpl for MeasureFunction {
    fn name(&self) -> &str {
        self.measure.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let [given] = arg_types else {
            return plan_err!(
                "{name} takes 1 argument, {name}(value), got {}",
                arg_types.len()
            );
        };
        if is_bytes(given) {
            return Ok(arg_types.to_vec());
        }
        match self.measure.of_text() {
            Some(function) => {
                let field = Arc::new(Field::new("value", given.clone(), true));
                let fields = fields_with_udf(&[field], function.as_ref())?;
                Ok(fields.iter().map(|f| f.data_type().clone()).collect())
            }
            None if given.is_integer() || given.is_null() => Ok(arg_types.to_vec()),
            None => plan_err!("{name} takes an integer or a BLOB, got {given}"),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match (self.measure.of_text(), arg_types) {
            (Some(function), [given]) if !is_bytes(given) => {
                function.return_type(arg_types)
            }
            _ => Ok(DataType::Int64),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let of_bytes = args.args.iter().any(|value| is_bytes(&value.data_type()));
        if let (Some(function), false) = (self.measure.of_text(), of_bytes) {
            return function.invoke_with_args(args);
        }
        let rows = args.number_rows;
        let [value] = take_function_args(self.name(), args.args)?;
        let is_scalar = matches!(value, ColumnarValue::Scalar(_));
        let values = value.into_array(if is_scalar { 1 } else { rows })?;
        let counts = match of_bytes {
            true => (0..values.len())
                .map(|row| bytes_at(&values, row).map(|b| self.measure.of_bytes(b)))
                .collect(),
            false => ones(&values)?,
        };
        let counts: ArrayRef = Arc::new(counts);
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(
                datafusion::common::ScalarValue::try_from_array(&counts, 0)?,
            ),
            false => ColumnarValue::Array(counts),
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(self.measure.documentation())
    }
}

/// How many bits of each integer are 1.
fn ones(integers: &ArrayRef) -> Result<Int64Array> {
    if integers.data_type().is_unsigned_integer() {
        let wide = cast(integers, &DataType::UInt64)?;
        let wide = wide.as_primitive::<UInt64Type>().iter();
        return Ok(wide.map(|n| n.map(|n| i64::from(n.count_ones()))).collect());
    }
    // Widening a negative integer adds ones, which its own type does not have.
    let width = 8 * integers.data_type().primitive_width().unwrap_or(8) as u32;
    let mask = u64::MAX >> (64 - width.clamp(1, 64));
    let wide = cast(integers, &DataType::Int64)?;
    let wide = wide.as_primitive::<Int64Type>().iter();
    let count = |n: i64| i64::from((n.cast_unsigned() & mask).count_ones());
    Ok(wide.map(|n| n.map(count)).collect())
}
