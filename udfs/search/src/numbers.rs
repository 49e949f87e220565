//! What functions of two bounds share that draw from a domain of `atoll-search`.

use std::fmt::{self, Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use atoll_search::{Domain, Draw, Parameter, Space, Value};
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::{as_float64_array, as_int64_array};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::domain::{coerce_either, domain_of, domain_type};
use crate::sampler::{
    Argument, Draws, Kind, NAME, SEED, TRIAL, at_plan_time, into_arrays, literal_integer,
    literal_number,
};

/// One function: `name(seed, trial, name, a, b)` draws, `name(a, b)` is a domain.
pub(crate) struct Numbers {
    pub(crate) name: &'static str,
    /// What a domain is called in its JSON.
    pub(crate) kind: &'static str,
    /// The two arguments that span the domain.
    pub(crate) bounds: [Argument; 2],
    /// The domain between bounds.
    pub(crate) domain: Between,
    /// The share of the domain below a draw's value.
    pub(crate) unit: fn(&Draw<'_>) -> f64,
    pub(crate) documentation: &'static Documentation,
    pub(crate) signature: Signature,
}

/// A domain from its bounds.
pub(crate) enum Between {
    Numbers(fn(f64, f64) -> Domain),
    Integers(fn(i64, i64) -> Domain),
}

impl Numbers {
    pub(crate) fn signature() -> Signature {
        Signature::user_defined(Volatility::Immutable)
    }

    fn is_draw(arguments: usize) -> bool {
        arguments > 2
    }

    fn draws(&self) -> DataType {
        match self.domain {
            Between::Numbers(_) => DataType::Float64,
            Between::Integers(_) => DataType::Int64,
        }
    }

    /// The value of a draw, or why there is none.
    fn draw(&self, draw: &Draw<'_>, domain: Domain) -> Result<Value, String> {
        let name = self.name.to_string();
        let space = Space::new(&[Parameter { name, domain }]);
        let space = space.map_err(|error| error.to_string())?;
        Ok(space.dimensions()[0].at((self.unit)(draw)))
    }

    fn rows(&self, draws: &Draws<'_>, a: &ArrayRef, b: &ArrayRef) -> Result<ArrayRef> {
        let one = |draw: Option<Draw<'_>>, domain: Option<Domain>| {
            let (Some(draw), Some(domain)) = (draw, domain) else {
                return Ok(None);
            };
            let value = self.draw(&draw, domain);
            value
                .map(Some)
                .map_err(|reason| exec_datafusion_err!("{reason}"))
        };
        Ok(match self.domain {
            Between::Numbers(domain) => {
                let bounds = as_float64_array(a)?.iter().zip(as_float64_array(b)?);
                let values = draws.iter().zip(bounds).map(|(draw, (a, b))| {
                    let value = one(draw, a.zip(b).map(|(a, b)| domain(a, b)))?;
                    Ok(value.and_then(|value| match value {
                        Value::Float(value) => Some(value),
                        _ => None,
                    }))
                });
                Arc::new(values.collect::<Result<Float64Array>>()?)
            }
            Between::Integers(domain) => {
                let bounds = as_int64_array(a)?.iter().zip(as_int64_array(b)?);
                let values = draws.iter().zip(bounds).map(|(draw, (a, b))| {
                    let value = one(draw, a.zip(b).map(|(a, b)| domain(a, b)))?;
                    Ok(value.and_then(|value| match value {
                        Value::Int(value) => Some(value),
                        _ => None,
                    }))
                });
                Arc::new(values.collect::<Result<Int64Array>>()?)
            }
        })
    }

    fn arguments(&self) -> [Argument; 5] {
        let [a, b] = self.bounds;
        [SEED, TRIAL, NAME, a, b]
    }
}

impl Debug for Numbers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Numbers").field(&self.name).finish()
    }
}

impl PartialEq for Numbers {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Numbers {}

impl Hash for Numbers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Numbers {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerce_either(self.name, &self.arguments(), (&self.bounds, 2), arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match Self::is_draw(arg_types.len()) {
            true => self.draws(),
            false => domain_type(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if Self::is_draw(args.arg_fields.len()) {
            let domain = match self.domain {
                Between::Numbers(domain) => literal_number(&args, 3)
                    .zip(literal_number(&args, 4))
                    .map(|(a, b)| domain(a, b)),
                Between::Integers(domain) => literal_integer(&args, 3)
                    .zip(literal_integer(&args, 4))
                    .map(|(a, b)| domain(a, b)),
            };
            if let Some(domain) = domain {
                let (seed, trial, name) = (0, 0, "");
                let drawn = self.draw(&Draw { seed, trial, name }, domain);
                at_plan_time(drawn.map(|_| ()))?;
            }
            return Ok(Arc::new(Field::new(self.name, self.draws(), true)));
        }
        Ok(Arc::new(Field::new(self.name, domain_type(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if !Self::is_draw(args.args.len()) {
            return domain_of(self.name, self.kind, &self.bounds, args.args);
        }
        let [seed, trial, name, a, b] =
            take_function_args(self.name, into_arrays(args)?)?;
        let draws = Draws::try_new(&seed, &trial, &name)?;
        Ok(ColumnarValue::Array(self.rows(&draws, &a, &b)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(self.documentation)
    }
}

/// The documentation of the three arguments that name a draw, and what they may be left
/// out for.
pub(crate) fn documented(
    description: &str,
    call: &str,
    bounds: [(&str, &str); 2],
    example: &str,
) -> Documentation {
    let description = format!(
        "{description} The same seed, trial and name give the same value everywhere. \
         With the last two arguments only it is a domain for `tune`."
    );
    let mut documentation = Documentation::builder(crate::SECTION, description, call)
        .with_argument(
            "seed",
            "Integer that names the study. Another seed is another search.",
        )
        .with_argument("trial", "Integer that names the trial, such as its number.")
        .with_argument("name", "Name of the hyperparameter, one per trial.");
    for (name, description) in bounds {
        documentation = documentation.with_argument(name, description);
    }
    documentation
        .with_sql_example(example)
        .with_related_udf("hp_uniform")
        .with_related_udf("tune")
        .build()
}

/// Bounds of any numeric type.
pub(crate) const LOW_AND_HIGH: [Argument; 2] =
    [("low", Kind::Number), ("high", Kind::Number)];
